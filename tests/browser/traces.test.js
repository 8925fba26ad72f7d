/* The trace pages in headless Chromium, served by trace_page over a made-up store. */
"use strict";

const { test, before, after } = require("node:test");
const assert = require("node:assert/strict");
const { spawn } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { chromium } = require("playwright-core");

const ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
	"--disable-component-update", "--disable-sync"];
const LIST = "/debug/traces";

let server, browser, origin;

before(async () => {
	server = spawn(process.env.TRACE_PAGE, ["0"], { stdio: ["ignore", "pipe", "inherit"] });
	origin = await new Promise((resolve, reject) => {
		server.once("exit", () => reject(new Error("trace_page ended")));
		server.stdout.once("data", (line) => resolve(new URL(String(line).trim()).origin));
	});
	browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ARGS });
});

after(async () => {
	if (browser)
		await browser.close();
	if (server)
		server.kill();
});

/* A page that fails the test when anything goes wrong in it: a script error, something that the policy forbids, a
   request to somewhere else, a dialog of a script. */
async function open(where, options) {
	const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
	const page = await context.newPage();

	page.troubles = [];
	page.on("pageerror", (error) => page.troubles.push(`script: ${error.message}`));
	page.on("console", (message) => {
		if (message.type() === "error")
			page.troubles.push(`console: ${message.text()}`);
	});
	page.on("request", (request) => {
		if (!request.url().startsWith(origin) && !/^(data|file|blob):/.test(request.url()))
			page.troubles.push(`request: ${request.url()}`);
	});
	page.on("dialog", (dialog) => {
		page.troubles.push(`dialog: ${dialog.message()}`);
		dialog.dismiss();
	});
	await page.goto(where.includes("://") ? where : origin + where, { waitUntil: "load" });
	return page;
}

async function close(page) {
	assert.deepEqual(page.troubles, []);
	await page.context().close();
}

/* The address of the trace whose title contains the text. */
async function find(text) {
	const answer = await fetch(`${origin}${LIST}?json&q=${encodeURIComponent(text)}`);

	return `${LIST}?id=${(await answer.json()).traces[0].trace_id}`;
}

const slow = () => find("entry");
const wide = () => find("/wide");

test("the list tells in words which stage took the time", async () => {
	const page = await open(LIST);
	const verdict = await page.locator(".verdict").innerText();

	assert.match(verdict, /^Slowest of the last 15 minutes: sync\.discover .* took 6\.73 s, 66 % in\s*dht \(4\.42 s\) › dht\.lookup: 90 % in\s*lookup \(4\.00 s\)\.$/);
	assert.match(await page.locator("#active + table .most").first().innerText(), /^now in\s*dht for /);
	assert.match(await page.locator("#traces + table .most").first().innerText(), /66 % in\s*dht \(4\.42 s\)/);
	await close(page);
});

test("the largest stage has its share of the bar", async () => {
	const page = await open(LIST);
	const shares = await page.locator("#traces + table .stack").first().evaluate((bar) =>
		Array.from(bar.querySelectorAll("rect"), (rect) =>
			rect.getBoundingClientRect().width / bar.getBoundingClientRect().width));

	assert.ok(Math.abs(Math.max(...shares) - 0.66) < 0.01, String(shares));
	assert.ok(shares.reduce((a, b) => a + b) > 0.99, String(shares));
	await close(page);
});

test("a stage has the same colour on every page", async () => {
	const colour = (page) => page.locator(".verdict .key").first().evaluate((key) =>
		getComputedStyle(key).backgroundColor);
	const list = await open(LIST);
	const one = await open(await slow());
	const both = await open(`${await slow()}&with=median`);

	assert.equal(await colour(list), await colour(one));
	assert.equal(await colour(list), await colour(both));
	for (const page of [list, one, both])
		await close(page);
});

test("one click leads from the list to the trace", async () => {
	const page = await open(LIST);

	await page.locator("#traces + table .what a").first().click();
	assert.match(await page.locator("h1").innerText(), /^sync\.discover hm:/);
	assert.match(await page.locator(".verdict").innerText(), /Took 6\.73 s: 66 % in\s*dht/);
	await close(page);
});

test("every dot of the picture leads to a trace", async () => {
	const page = await open(LIST);
	const dots = page.locator(".scatter a");

	assert.ok(await dots.count() > 50);
	assert.equal(await page.locator(".scatter rect").count() > 0, true);
	await dots.last().locator("circle, rect").click();
	assert.match(page.url(), /\?id=[0-9a-f]{32}$/);
	await close(page);
});

test("the filter narrows the list", async () => {
	const page = await open(LIST);

	await page.fill("input[name=q]", "herons");
	await page.fill("input[name=min]", "5s");
	await page.click(".filter button");
	assert.match(await page.locator("#traces").innerText(), /^1 of 1 matching/);
	assert.equal(await page.inputValue("input[name=q]"), "herons");
	await page.click(".views a >> text=Errors");
	assert.ok((await page.locator("#traces + table .out.bad").count()) >= 1);
	await close(page);
});

test("a bad parameter is named on a page", async () => {
	const page = await open(LIST);

	await page.goto(`${origin}${LIST}?min=soon`);
	assert.match(await page.locator(".error").innerText(), /Bad parameter min: .*duration/);
	page.troubles = page.troubles.filter((t) => !t.includes("400")); /* Chromium's own note */
	await close(page);
});

async function isClean(page) {
	assert.equal(await page.evaluate(() => window.pwned), undefined);
	assert.equal(await page.locator("main img, main script, main [onclick], main [onerror]").count(), 0);
	assert.equal((await page.locator("main").innerText()).includes("\u202e"), false);
}

test("hostile names are text in every field", async () => {
	const page = await open(`${LIST}?category=${encodeURIComponent("<i>evil")}`);

	await isClean(page);
	assert.match(await page.locator("#traces + table").innerText(), /<script>window\.pwned=1<\/script>/);
	await page.goto(origin + await find("window.pwned"));
	await page.keyboard.press("o");
	await isClean(page);
	assert.match(await page.locator("article").innerText(), /<stage onclick=window\.pwned=1>/);
	assert.match(await page.locator("article").innerText(), /<outcome>/);
	await page.goto(`${page.url().split("#")[0]}&with=median`);
	page.troubles = page.troubles.filter((t) => !t.includes("404")); /* nothing to compare with */
	await page.goto(`${origin}${LIST}?q=${encodeURIComponent("\"><script>window.pwned=1</script>")}`);
	await isClean(page);
	await close(page);
});

test("the keyboard reaches everything", async () => {
	const page = await open(await slow());
	const width = () => page.locator(".spans .lane").first().evaluate((lane) => lane.getBoundingClientRect().width);
	const before = await width();

	await page.keyboard.press("j");
	await page.keyboard.press("j");
	await page.keyboard.press("j");
	assert.match(await page.evaluate(() => document.activeElement.textContent), /^\s*sync\.peer 12D3/);
	assert.match(page.url(), /#s[0-9a-f]{16}$/);
	await page.keyboard.press("Enter");
	assert.ok(await page.locator("li.chosen .body").isVisible());
	await page.keyboard.press("e");
	assert.match(await page.evaluate(() => document.activeElement.textContent), /timeout/);
	await page.keyboard.press("w");
	assert.ok(await width() > 1.5 * before);
	assert.match(page.url(), /&z=/);
	await page.keyboard.press("f");
	assert.equal(await width(), before);
	await page.keyboard.press("/");
	assert.equal(await page.evaluate(() => document.activeElement.type), "search");
	await page.keyboard.type("dht.lookup");
	assert.equal(await page.locator(".spans > li[id]:visible").count(), 1);
	await page.keyboard.press("Escape");
	await page.keyboard.press("?");
	assert.match(await page.locator("dialog[open]").innerText(), /next failed span/);
	await page.keyboard.press("Escape");
	assert.equal(await page.locator("dialog[open]").count(), 0);
	await close(page);
});

test("a link to a span opens it, and the group it is in", async () => {
	const page = await open(await wide());
	const id = await page.locator(".group .spans > li[id]").nth(20).getAttribute("id");
	const here = page.url().split("#")[0];

	assert.equal(await page.locator(`#${id} .body`).isVisible(), false);
	await page.goto("about:blank");
	await page.goto(`${here}#${id}&z=0.25000,2.00`);
	assert.ok(await page.locator(`#${id} .body`).isVisible());
	assert.ok(await page.locator(".minimap .window").isVisible());
	await close(page);
});

test("dragging over the minimap zooms", async () => {
	const page = await open(await wide());
	const box = await page.locator(".minimap").boundingBox();
	const zoom = () => page.locator(".waterfall").evaluate((w) => parseFloat(w.style.getPropertyValue("--zoom") || "1"));

	await page.mouse.move(box.x + box.width * 0.2, box.y + 10);
	await page.mouse.down();
	await page.mouse.move(box.x + box.width * 0.45, box.y + 10, { steps: 4 });
	await page.mouse.up();
	assert.ok(Math.abs(await zoom() - 4) < 0.2, String(await zoom()));
	await page.locator(".minimap").dblclick();
	assert.equal(await zoom(), 1);
	await close(page);
});

test("without scripts every page is complete", async () => {
	const page = await open(LIST, { javaScriptEnabled: false });

	assert.match(await page.locator(".verdict").innerText(), /66 % in\s*dht/);
	await page.goto(origin + await wide());
	assert.match(await page.locator(".group summary").first().innerText(), /sync\.peer ×47, p50 .*\s+30 failed/);
	await page.locator(".group > details > summary").first().click();
	assert.equal(await page.locator(".group .spans > li:visible").count(), 47);
	await page.locator(".group .spans > li[id] summary").nth(3).click();
	assert.ok(await page.locator(".group .spans > li[id] .body").nth(3).isVisible());
	await page.click("text=compare with the median");
	assert.match(await page.locator(".verdict").innerText(), /^A took .* longer than B, most of it in\s*local_sync/);
	await page.goBack();
	await page.click("#stages + .scroll th >> text=failed");
	assert.match(await page.locator("#stages + .scroll tbody tr").first().innerText(), /dial\s+47\s+30/);
	await close(page);
});

for (const colorScheme of ["light", "dark"]) {
	test(`a narrow ${colorScheme} screen shows all without scrolling sideways`, async () => {
		for (const where of [LIST, await slow(), await wide(), `${await slow()}&with=median`, `${LIST}?sort=newest&n=50`]) {
			const page = await open(where, { viewport: { width: 400, height: 800 }, colorScheme, isMobile: true });
			const [wanted, is] = await page.evaluate(() => [innerWidth, document.documentElement.scrollWidth]);

			assert.ok(is <= wanted, `${where}: ${is} of ${wanted}`);
			assert.ok(await page.locator(".verdict, #traces").first().isVisible());
			await close(page);
		}
	});
}

/* Relative luminance and contrast as in WCAG 2. */
function contrast(a, b) {
	const light = (rgb) => rgb.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
		.reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
	const [x, y] = [light(a), light(b)];

	return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
}

for (const colorScheme of ["light", "dark"]) {
	test(`text can be read in ${colorScheme}`, async () => {
		for (const where of [LIST, await slow()]) {
			const page = await open(where, { colorScheme });
			const found = await page.evaluate(() => {
				const rgb = (text) => (text.match(/[\d.]+/g) || []).map(Number);
				const behind = (node) => {
					for (let up = node; up; up = up.parentElement) {
						const colour = rgb(getComputedStyle(up).backgroundColor);

						if (colour.length === 3 || colour[3] > 0.99)
							return colour.slice(0, 3);
					}
					return [255, 255, 255];
				};

				return Array.from(document.querySelectorAll("main *"), (node) => node)
					.filter((node) => Array.from(node.childNodes).some((c) => c.nodeType === 3 && c.data.trim()))
					.filter((node) => !node.closest("svg, option, .none") && node.offsetParent)
					.map((node) => [rgb(getComputedStyle(node).color).slice(0, 3), behind(node), node.outerHTML.slice(0, 90)]);
			});

			assert.ok(found.length > 30);
			for (const [text, ground, what] of found)
				assert.ok(contrast(text, ground) >= 4.5, `${contrast(text, ground).toFixed(2)}: ${what}`);
			await close(page);
		}
	});
}

test("the page has landmarks, names and an order of headings", async () => {
	for (const where of [LIST, await slow()]) {
		const page = await open(where);
		const bad = await page.evaluate(() => {
			const list = [];
			let level = 0;

			for (const node of document.querySelectorAll("h1, h2, h3")) {
				const now = Number(node.tagName[1]);

				if (now > level + 1)
					list.push(`heading ${node.textContent}`);
				level = now;
			}
			for (const node of document.querySelectorAll("svg"))
				if (!node.closest("[aria-hidden=true]") && !node.getAttribute("aria-label"))
					list.push(`svg ${node.outerHTML.slice(0, 60)}`);
			for (const node of document.querySelectorAll("input, select"))
				if (!node.labels.length && !node.getAttribute("aria-label"))
					list.push(`field ${node.outerHTML.slice(0, 60)}`);
			for (const node of document.querySelectorAll("th"))
				if (!node.scope)
					list.push(`th ${node.textContent}`);
			return list;
		});

		assert.deepEqual(bad, []);
		assert.equal(await page.locator("main").count(), 1);
		assert.equal(await page.locator("h1").count(), 1);
		await close(page);
	}
});

test("traces appear as they happen, and wait while paused", async () => {
	const page = await open(LIST);
	const rows = page.locator("h2:text('As it happens') + table tbody tr");
	const happen = (kind) => fetch(`${origin}/demo/happen${kind}`);

	await page.click("text=Live");
	await page.locator(".live-state:text-matches('^live')").waitFor();
	await happen("?kind=failed");
	await rows.locator(".out.bad:text('timeout')").waitFor();
	await isClean(page);
	assert.match(await rows.first().innerText(), /sync\.discover|http/);
	await page.click("text=Pause");
	const before = await rows.count();
	await happen("");
	await page.locator(".live-state:text-matches('paused with [1-9]')").waitFor();
	const id = await page.locator("tr[data-span]").first().getAttribute("data-id");
	const isKept = async () => (await (await fetch(`${origin}${LIST}?json&id=${id}`)).json()).traces[0].pinned;

	while (!await isKept()) /* from eviction, as long as it is paused; else the test ends in time */
		await new Promise((resolve) => setTimeout(resolve, 20));
	assert.equal(await rows.count(), before);
	await page.click("text=Go on");
	await page.waitForFunction((n) => document.querySelectorAll("h2 + table.traces tbody")[0].rows.length > n, before);
	while (await isKept())
		await new Promise((resolve) => setTimeout(resolve, 20));
	await page.click("button:text-is('Live')");
	assert.equal(await page.locator(".live-state").innerText(), "");
	await close(page);
});

for (const javaScriptEnabled of [true, false]) {
	test(`a trace is kept and let go ${javaScriptEnabled ? "with" : "without"} scripts`, async () => {
		const page = await open(await slow(), { javaScriptEnabled });
		const where = page.url();

		await page.click("button:text-is('Keep')");
		assert.equal(page.url().split("#")[0], where.split("#")[0]);
		assert.match(await page.locator(".keep").innerText(), /Let go\s+kept/);
		await page.goto(origin + LIST);
		assert.equal(await page.locator(".kept").count(), 1);
		await page.goBack();
		await page.click("button:text-is('Let go')");
		assert.ok(await page.locator("button:text-is('Keep')").isVisible());
		await close(page);
	});
}

test("another site's page cannot keep a trace", async () => {
	const page = await open("data:text/html,://");

	await page.setContent(`<form method="post" action="${origin}${(await slow()).replace("traces?", "traces/pin?")}"><button>go</button></form>`);
	await page.click("button");
	await page.waitForURL(/pin/);
	assert.match(await page.locator("body").innerText(), /403|another site|not accepted/);
	await page.goto(origin + LIST);
	assert.equal(await page.locator(".kept").count(), 0);
	page.troubles = page.troubles.filter((t) => !t.includes("403"));
	await close(page);
});

test("the last minutes of a category are drawn", async () => {
	const page = await open(LIST);
	const bars = (which) => page.locator(`.categories tr:has-text("sync.peer") .spark ${which}`).evaluate((path) => path.getBBox().width);

	assert.ok(await bars("path:not(.bad)") > 20);
	assert.ok(await bars("path.bad") > 0);
	await close(page);
});

test("the live view is narrowed like the list", async () => {
	const page = await open(`${LIST}?q=nothing+of+the+kind`);
	const told = [];

	page.on("request", (request) => told.push(request.url()));
	await page.click("text=Live");
	await page.locator(".live-state:text-matches('^live')").waitFor();
	assert.match(told.find((url) => url.includes("stream")), /q=nothing\+of\+the\+kind/);
	await fetch(`${origin}/demo/happen?kind=failed`);
	await page.waitForTimeout(700);
	assert.equal(await page.locator(".live-state").innerText(), "live, 0 events");
	await close(page);
});

test("a kept file needs nothing else", async () => {
	const folder = fs.mkdtempSync(path.join(os.tmpdir(), "peerscope-browser-"));
	const file = path.join(folder, "trace.html");

	try {
		const answer = await fetch(`${origin}${await find("window.pwned")}&download=html`, { headers: { accept: "text/html" } });

		assert.match(answer.headers.get("content-disposition"), /^attachment; filename="peerscope-trace-[0-9a-f]{8}\.html"$/);
		fs.writeFileSync(file, Buffer.from(await answer.arrayBuffer()));
		const page = await open(`file://${file}`, { offline: true });

		assert.ok(await page.locator(".minimap").isVisible()); /* the script has run */
		assert.notEqual(await page.evaluate(() => getComputedStyle(document.body).marginTop), "8px"); /* the style holds */
		await page.keyboard.press("o");
		await isClean(page);
		await close(page);
	} finally {
		fs.rmSync(folder, { recursive: true });
	}
});
