// Is what stands on this page still true? A page that hears nothing any more says so and takes no click: old figures
// would look live, and what was clicked would be sent whenever the line comes back. One whose session has ended leads to
// the login.
addEventListener("load", () => {
  const said = Object.assign(document.createElement("div"), { id: "late", hidden: true });
  said.setAttribute("role", "alert");
  document.body.append(said);
  let isLeaving = false;
  let lastHeard = new Date();

  const others = () => [...document.body.children].filter((each) => each !== said);

  function isLate() {
    if (isLeaving) return;
    if (said.hidden) {
      const at = lastHeard.toLocaleTimeString([], { hour12: false });
      said.textContent = `Not connected. What stands here is from ${at} on your clock; trying again.`;
      said.hidden = false;
      document.body.classList.add("late");
      others().forEach((each) => (each.inert = true));
    }
    hasEnded();
  }

  function isLive() {
    lastHeard = new Date();
    if (said.hidden) return;
    said.hidden = true;
    document.body.classList.remove("late");
    others().forEach((each) => (each.inert = false));
  }

  // A socket that is refused does not say why.
  async function hasEnded() {
    try {
      const answer = await fetch("/session", { cache: "no-store" });
      if (answer.status !== 401) return;
      isLeaving = true;
      location.replace("/login?ended=1&next=" + encodeURIComponent(location.pathname + location.search));
    } catch {
      // Nobody answers; the socket goes on trying.
    }
  }

  addEventListener("pagehide", () => (isLeaving = true));
  addEventListener("offline", isLate);
  addEventListener("online", hasEnded);
  if (!window.socket) return isLate();
  window.socket.on("connect", isLive);
  window.socket.onAny(() => (lastHeard = new Date()));
  window.socket.on("disconnect", isLate);
  window.socket.on("connect_error", isLate);
});
