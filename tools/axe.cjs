// Checks HTML pages with axe-core in headless Chromium, light and dark, on a desk and on a phone: `make axe`.
// NODE_PATH names the folder that holds axe-core and puppeteer-core. Ends with 1 if a page breaks a rule,
// or if it is wider than a phone.
const fs = require("fs");
const path = require("path");
const puppeteer = require("puppeteer-core");

const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const WIDTHS = [1280, 390];

async function check(browser, file, scheme, width) {
  const page = await browser.newPage();
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  await page.setViewport({ width, height: 800 });
  await page.goto("file://" + path.resolve(file), { timeout: 240_000 });
  await page.evaluate(() => document.querySelectorAll("details").forEach((each) => (each.open = true)));
  await page.addScriptTag({ content: axe });
  const found = await page.evaluate(() => axe.run());
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  await page.close();
  for (const rule of found.violations)
    console.log(`  ${rule.id}: ${rule.nodes.length} times, such as ${rule.nodes[0].html.slice(0, 160)}`);
  if (wide > width) console.log(`  the page is ${wide} pixels wide`);
  console.log(`${file}, ${scheme}, ${width} px: ${found.violations.length} violations, ${found.passes.length} rules hold`);
  return found.violations.length + (wide > width ? 1 : 0);
}

(async () => {
  const files = process.argv.slice(2);
  if (!files.length) throw new Error("give HTML files");
  const browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
    args: ["--no-sandbox"],
    timeout: 240_000,
    protocolTimeout: 600_000,
  });
  let bad = 0;
  for (const file of files)
    for (const scheme of ["light", "dark"])
      for (const width of WIDTHS) bad += await check(browser, file, scheme, width);
  await browser.close();
  process.exit(bad ? 1 : 0);
})();
