/** Tabs as https://www.w3.org/WAI/ARIA/apg/patterns/tabs/ says; the chosen one is in the address. */
export function installTabs(list, onShown) {
  const tabs = [...list.querySelectorAll('[role=tab]')];
  const show = (tab, isWanted) => {
    for (const other of tabs) {
      const isChosen = other === tab;
      other.ariaSelected = String(isChosen);
      other.tabIndex = isChosen ? 0 : -1;
      document.getElementById(other.getAttribute('aria-controls')).hidden = !isChosen;
    }
    if (isWanted) {
      tab.focus();
      history.replaceState(null, '', `${location.search}#${tab.dataset.name}`);
    }
    onShown(tab.dataset.name);
  };
  tabs.forEach((tab, at) => {
    tab.addEventListener('click', () => show(tab, true));
    tab.addEventListener('keydown', ({ key }) => {
      const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1 }[key];
      if (to !== undefined) show(tabs.at(to % tabs.length), true);
    });
  });
  const named = tabs.find((tab) => `#${tab.dataset.name}` === location.hash);
  show(named ?? tabs[0], false);
}
