"""Contrast of texts as WCAG 2 defines it (https://www.w3.org/TR/WCAG22/#contrast-minimum), in a browser."""

from __future__ import annotations

from playwright.sync_api import Page

#: 4.5 for text, 3 for large text: 24 px, or 18.66 px when it is bold.
_SCRIPT = """
() => {
  const channels = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((one) => {
      one /= 255;
      return one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const found = channels(getComputedStyle(one).backgroundColor);
      if (found.length && found[3] !== 0) return found;
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const poor = new Set();
  let seen = 0;
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility() || element.closest("svg")) continue;
    seen += 1;
    const style = getComputedStyle(element);
    const [one, other] = [luminance(channels(style.color)), luminance(behind(element))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const text = walker.currentNode.data.trim().slice(0, 40);
    if (ratio < (large ? 3 : 4.5)) poor.add(`${ratio.toFixed(2)}: ${text}`);
  }
  return seen ? [...poor] : ["no text at all"];
}
"""


def poor_contrasts(page: Page) -> list[str]:
    """Return the texts of a page that stand out too little, each with its ratio."""
    found: list[str] = page.evaluate(_SCRIPT)
    return found
