// Wide tables and code can be scrolled with the keyboard, and the buttons of a code block are no landmark.
// The theme makes both after a page has loaded.
const reachable = () => {
  for (const each of document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset pre > code"))
    if (!each.hasAttribute("tabindex")) each.tabIndex = 0;
  for (const each of document.querySelectorAll(".md-code__nav:not([role])")) each.setAttribute("role", "group");
};
new MutationObserver(reachable).observe(document.documentElement, { childList: true, subtree: true });
