"""What tests of every room stand on that only the local runtime can give. Production never imports it."""
