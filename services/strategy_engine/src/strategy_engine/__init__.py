"""The strategy engine: which positions do the strategies wish for at this instant?"""
