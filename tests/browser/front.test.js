/* The front page, its buttons, the flame graph and the guard in headless Chromium, of a real daemon. */
"use strict";

const { test, before, after } = require("node:test");
const assert = require("node:assert/strict");
const { execFileSync, spawn } = require("node:child_process");
const fs = require("node:fs");
const http = require("node:http");
const os = require("node:os");
const path = require("node:path");
const zlib = require("node:zlib");
const { chromium } = require("playwright-core");

/* evil.test stands for a site whose name an attacker has bound to this machine. */
const ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
	"--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP evil.test 127.0.0.1"];
const HOSTILE = "/<script>alert(1)</script>";

let folder, daemon, browser, origin, evil;

before(async () => {
	folder = fs.mkdtempSync(path.join(os.tmpdir(), "peerscope-front-"));
	const data = path.join(folder, "node"), address = path.join(data, "debug.addr"), file = path.join(folder, "file");

	daemon = spawn(process.env.PEERSCOPE, ["daemon", "--data", data, "--dht", "off", "--lan", "off",
		"--listen", "127.0.0.1:0", "--debug-listen", "127.0.0.1:0"], { stdio: "ignore" });
	for (let i = 0; i < 600 && !fs.existsSync(address); i++)
		await new Promise((resolve) => setTimeout(resolve, 50));
	origin = new URL(fs.readFileSync(address, "utf8").trim()).origin;
	fs.writeFileSync(file, "content");
	execFileSync(process.env.PEERSCOPE, ["publish", "--data", data, file, "--as", HOSTILE]);
	browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ARGS });
	evil = http.createServer((request, response) => {
		response.setHeader("Content-Type", "text/html");
		response.end("<!DOCTYPE html><title>evil</title><body></body>");
	});
	await new Promise((resolve) => evil.listen(0, "127.0.0.1", resolve));
});

after(async () => {
	if (browser)
		await browser.close();
	if (evil)
		evil.close();
	if (daemon) {
		const ended = new Promise((resolve) => daemon.once("exit", resolve));
		daemon.kill();
		await ended;
	}
	fs.rmSync(folder, { recursive: true, force: true });
});

/* A page that fails the test when a script fails, the policy forbids something, or it asks somebody else. */
async function open(where, options) {
	const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
	const page = await context.newPage();

	page.troubles = [];
	page.on("pageerror", (error) => page.troubles.push(error.message));
	page.on("console", (message) => message.type() === "error" && page.troubles.push(message.text()));
	page.on("request", (request) => {
		if (!request.url().startsWith(origin) && !/^(data|blob):/.test(request.url()))
			page.troubles.push(`request: ${request.url()}`);
	});
	page.on("dialog", (dialog) => {
		page.troubles.push(`dialog: ${dialog.message()}`);
		dialog.dismiss();
	});
	await page.goto(origin + where, { waitUntil: "load" });
	return page;
}

async function close(page) {
	assert.deepEqual(page.troubles, []);
	await page.context().close();
}

const form = (page, name) => page.locator(`form.capture[action$="/${name}"]`);

async function figures() {
	return (await fetch(`${origin}/debug/vars?json`)).json();
}

/* Keeps the daemon busy until the returned function is called. */
function load(paths = ["/debug/traces?html"]) {
	let isOver = false;
	const done = Promise.all(paths.map(async (where) => {
		while (!isOver)
			await (await fetch(origin + where)).text();
	}));

	return () => {
		isOver = true;
		return done;
	};
}

/* ---- The front page ---- */

test("the page says how it is, and each figure leads on", async () => {
	const page = await open("/debug/");
	const links = await page.locator(".health a").evaluateAll((all) => all.map((a) => a.getAttribute("href")));

	assert.equal(links.length, 7);
	assert.match(await page.locator(".health").innerText(), /loop lag[\s\S]*CPU[\s\S]*memory[\s\S]*peers[\s\S]*discoveries/);
	for (const link of links.filter((l) => !l.includes("seconds=")))
		assert.equal((await fetch(origin + link)).status, 200, link);
	assert.match(await page.locator(".doctor li").first().innerText(), /^(fine|note|warning|problem)/);
	await close(page);
});

test("the three buttons have the names that people are told to look for", async () => {
	const page = await open("/debug/");

	assert.deepEqual((await page.locator("form.capture > div > button").allInnerTexts()), ["Capture 30s CPU profile",
		"Heap snapshot", "Goroutine dump", "Collect everything"]);
	assert.match(await page.locator("main").innerText(), /contents are technical — no document content is included/);
	assert.match(await page.locator("pre.commands").innerText(), new RegExp(`curl -fOJ '${origin}/debug/bundle'`));
	await close(page);
});

test("the number on the button is the one that is used", async () => {
	const page = await open("/debug/");

	await form(page, "profile").locator("input[type=number]").fill("5");
	assert.equal(await form(page, "profile").locator("div > button").innerText(), "Capture 5s CPU profile");
	await close(page);
});

test("a click saves a CPU profile, counts down, and says what to do next", async () => {
	const page = await open("/debug/"), cpu = form(page, "profile");

	await cpu.locator("input[type=number]").fill("2");
	const download = page.waitForEvent("download");
	await cpu.locator("div > button").click();
	await cpu.locator(".progress", { hasText: /[12] s left/ }).waitFor();
	const saved = await download, name = saved.suggestedFilename();
	assert.match(name, /^peerscope-cpu-\d{8}T\d{6}Z\.pprof$/);
	assert.ok(zlib.gunzipSync(fs.readFileSync(await saved.path())).includes("nanoseconds"));
	const words = await cpu.locator(".progress").innerText();
	assert.match(words, /^Saved peerscope-cpu-.*\.pprof \([\d.]+ (KiB|B)\)\. Next: go tool pprof -http=:8080 peerscope-cpu-/);
	assert.ok(await cpu.locator("div > button").isEnabled());
	await close(page);
});

test("heap and goroutines are saved at once", async () => {
	const page = await open("/debug/");

	for (const name of ["heap", "goroutine"]) {
		const download = page.waitForEvent("download");

		await form(page, name).locator("div > button").click();
		assert.match((await download).suggestedFilename(), new RegExp(`^peerscope-${name}-\\d{8}T\\d{6}Z\\.pprof$`));
	}
	await close(page);
});

test("cancelling is no error, saves nothing, and ends the capture", async () => {
	const page = await open("/debug/"), cpu = form(page, "profile");
	let downloads = 0;

	page.on("download", () => downloads++);
	await cpu.locator("div > button").click();
	await cpu.locator(".progress button", { hasText: "Cancel" }).click();
	await cpu.locator(".progress.quiet", { hasText: "Cancelled. Nothing was saved." }).waitFor();
	assert.equal(downloads, 0);
	for (let i = 0; i < 100 && (await figures()).profiler.cpu_captures > 0; i++)
		await new Promise((resolve) => setTimeout(resolve, 20));
	assert.equal((await figures()).profiler.cpu_captures, 0);
	await close(page);
});

test("a daemon that is busy with other captures is waited for, quietly", async () => {
	const page = await open("/debug/"), cpu = form(page, "profile");
	const stop = new AbortController();
	const others = Array.from({ length: 8 }, () =>
		fetch(`${origin}/debug/pprof/profile?seconds=60`, { signal: stop.signal }).catch(() => {}));

	for (let i = 0; i < 200 && (await figures()).profiler.cpu_captures < 8; i++)
		await new Promise((resolve) => setTimeout(resolve, 20));
	await cpu.locator("input[type=number]").fill("1");
	const download = page.waitForEvent("download", { timeout: 30000 });
	await cpu.locator("div > button").click();
	await cpu.locator(".progress", { hasText: "Another capture is running" }).waitFor();
	stop.abort();
	await Promise.all(others);
	await download;
	page.troubles = page.troubles.filter((t) => !/status of 500/.test(t)); /* the browser's own words */
	await close(page);
});

test("everything is collected into one file", async () => {
	const page = await open("/debug/"), bundle = form(page, "bundle");

	await bundle.locator("input[type=number]").fill("1");
	const download = page.waitForEvent("download", { timeout: 90000 });
	await bundle.locator("div > button").click();
	await bundle.locator(".progress", { hasText: /Step \d+ of \d+/ }).waitFor();
	const saved = await download;
	assert.match(saved.suggestedFilename(), /\.zip$/);
	assert.equal(fs.readFileSync(await saved.path()).subarray(0, 2).toString(), "PK");
	await close(page);
});

test("without scripts a button is a download", async () => {
	const page = await open("/debug/", { javaScriptEnabled: false });
	const download = page.waitForEvent("download");

	await form(page, "profile").locator("input[type=number]").fill("1");
	await form(page, "profile").locator("div > button").click();
	const saved = await download;
	assert.match(saved.suggestedFilename(), /^peerscope-cpu-/);
	assert.ok(zlib.gunzipSync(fs.readFileSync(await saved.path())).length > 0);
	await close(page);
});

test("the keyboard is enough", async () => {
	const page = await open("/debug/");
	const download = page.waitForEvent("download");

	for (let i = 0; i < 60; i++) {
		await page.keyboard.press("Tab");
		if (await page.evaluate(() => document.activeElement.textContent) === "Heap snapshot")
			break;
	}
	await page.keyboard.press("Enter");
	await download;
	await close(page);
});

/* ---- The flame graph ---- */

const boxes = (page) => page.locator("#flame [role=treeitem]");

test("a flame graph appears, and zooms, and comes back", async () => {
	const end = load(), page = await open("/debug/flame?profile=profile&seconds=2");
	await end();
	const all = await boxes(page).count();
	const width = (name) => page.locator(`#flame [role=treeitem]:has(> title:text-matches("^${name} "))`).first().evaluate((box) =>
		box.getBoundingClientRect().width / box.parentElement.getBoundingClientRect().width);

	assert.ok(all > 5, String(all));
	assert.match(await page.locator(".verdict").innerText(), /of it in/);
	const leaf = boxes(page).last();
	const name = (await leaf.getAttribute("aria-label")).split(" ")[0];
	await leaf.evaluate((box) => box.dispatchEvent(new MouseEvent("click", { bubbles: true })));
	assert.ok(await width(name) > 0.99);
	await page.locator(".tools button", { hasText: "Show all" }).click();
	assert.equal(await boxes(page).count(), all);
	await close(page);
});

test("search marks functions and says how much they are", async () => {
	const page = await open("/debug/flame?profile=heap");
	const name = (await boxes(page).first().getAttribute("aria-label")).split(" ")[0];

	await page.keyboard.press("/");
	await page.keyboard.type(name);
	assert.ok(await page.locator("#flame .found").count() > 0);
	assert.match(await page.locator(".tools [role=status]").innerText(), /^found in [1-9][\d.]* % of/);
	await close(page);
});

test("a filter leaves only what has the label", async () => {
	const end = load(["/debug/pprof/heap", "/debug/pprof/goroutine", "/debug/sys", "/debug/store?html"]);

	await new Promise((resolve) => setTimeout(resolve, 1500));
	await end();
	const page = await open("/debug/flame?profile=block"); /* for jobs, and for locks */
	const value = async () => (await page.locator(".tools [role=status]").innerText());
	const all = await value();

	await page.locator(".tools select[aria-label=task]").selectOption({ index: 1 });
	assert.ok(await boxes(page).count() > 0);
	assert.notEqual(await value(), all);
	await page.locator(".tools select[aria-label=task]").selectOption({ index: 0 });
	assert.equal(await value(), all);
	await page.locator(".labels[data-kind=task] button.pick").first().click();
	assert.notEqual(await value(), all);
	await close(page);
});

test("arrows lead through the graph, Enter zooms, Escape returns", async () => {
	const page = await open("/debug/flame?profile=heap");
	const level = () => page.evaluate(() => document.activeElement.getAttribute("aria-level"));

	await page.locator("#flame [tabindex='0']").focus();
	assert.equal(await level(), "1");
	await page.keyboard.press("ArrowDown");
	await page.keyboard.press("ArrowDown");
	assert.equal(await level(), "3");
	await page.keyboard.press("Enter");
	assert.ok(await page.locator(".tools button", { hasText: "Show all" }).isVisible());
	await page.keyboard.press("Escape");
	await page.keyboard.press("ArrowUp");
	assert.equal(await level(), "2");
	await close(page);
});

test("without scripts the flame graph is drawn, and the words about waiting are gone", async () => {
	const page = await open("/debug/flame?profile=heap&seconds=1", { javaScriptEnabled: false });
	const still = await open("/debug/flame?profile=heap", { javaScriptEnabled: false });

	assert.equal(await page.locator(".waiting").isVisible(), false);
	assert.ok(await still.locator("#flame svg svg").count() > 3);
	assert.ok(await still.locator(".functions tbody tr").count() > 0);
	await close(still);
	await close(page);
});

test("waiting for a profile can be ended", async () => {
	const context = await browser.newContext(), page = await context.newPage();

	page.goto(`${origin}/debug/flame?profile=profile&seconds=60`).catch(() => {});
	await page.locator(".waiting", { hasText: /\d+ s left/ }).waitFor();
	await page.locator(".waiting button").click();
	await page.locator("p.quiet", { hasText: "Cancelled" }).waitFor();
	for (let i = 0; i < 200 && (await figures()).profiler.cpu_captures > 0; i++)
		await new Promise((resolve) => setTimeout(resolve, 20));
	assert.equal((await figures()).profiler.cpu_captures, 0);
	await context.close();
});

/* ---- The other pages ---- */

test("no page breaks on small screens, in the dark, or by hostile names", async () => {
	for (const where of ["/debug/", "/debug/pprof/", "/debug/vars", "/debug/peers", "/debug/store", "/debug/flame",
		"/debug/flame?profile=heap&category=%3Cscript%3Ealert(1)%3C/script%3E"]) {
		const page = await open(where, { viewport: { width: 400, height: 800 }, colorScheme: "dark" });
		const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);

		assert.ok(overflow <= 0, `${where} is ${overflow} pixels too wide`);
		await close(page);
	}
});

test("rates are set from the list of profiles", async () => {
	const page = await open("/debug/pprof/");
	const input = page.locator('input[aria-label="mutex rate"]');

	await input.fill("3");
	await page.locator('form[action="mutex"] button').click();
	await page.waitForURL(`${origin}/debug/pprof/`);
	assert.equal(await page.locator('input[aria-label="mutex rate"]').inputValue(), "3");
	await page.locator('input[aria-label="mutex rate"]').fill("10");
	await page.locator('form[action="mutex"] button').click();
	await close(page);
});

test("figures tell how fast they grow", async () => {
	const page = await open("/debug/vars"), end = load();

	await page.locator("#debug_http tr", { hasText: "requests" }).locator(".change", { hasText: /\/s$/ }).waitFor();
	await end();
	await close(page);
});

/* ---- Other people's pages ---- */

async function openEvil(host) {
	const context = await browser.newContext(), page = await context.newPage();

	await page.goto(`http://${host}:${evil.address().port}/`);
	return page;
}

test("a name that was rebound to this machine reaches nothing", async () => {
	const page = await openEvil("evil.test"), port = new URL(origin).port;
	const before = (await figures()).profiler.captures;
	const reply = await page.goto(`http://evil.test:${port}/debug/pprof/heap`).catch((error) => error);

	assert.equal(reply.status(), 403);
	assert.match(await page.locator("body").innerText(), /does not name this machine/);
	assert.equal((await figures()).profiler.captures, before);
	await page.context().close();
});

test("a page of another site can neither read nor change", async () => {
	const page = await openEvil("evil.test");
	const rate = async () => /value="(\d+)" aria-label="mutex rate"/.exec(await (await fetch(`${origin}/debug/pprof/`)).text())[1];
	const before = await rate(), refused = (await figures()).debug_http.refused_guard;
	const read = await page.evaluate((where) => fetch(where).then(() => "read", () => "refused"), `${origin}/debug/vars`);

	assert.equal(read, "refused");
	await page.evaluate((where) => fetch(where, { method: "POST", mode: "no-cors", body: "" }).catch(() => {}),
		`${origin}/debug/pprof/mutex?rate=1`);
	await page.evaluate((where) => {
		const form = document.body.appendChild(document.createElement("form"));

		form.method = "POST";
		form.action = where;
		form.innerHTML = "<input name=rate value=1>";
		form.submit();
	}, `${origin}/debug/pprof/mutex`);
	await page.waitForURL(`${origin}/debug/pprof/mutex`);
	assert.match(await page.locator("body").innerText(), /another site/);
	assert.equal(await rate(), before);
	assert.ok((await figures()).debug_http.refused_guard >= refused + 2);
	await page.context().close();
});

test("no other page can hold it in a frame", async () => {
	const page = await openEvil("127.0.0.1");

	await page.evaluate((where) => new Promise((resolve) => {
		const frame = document.body.appendChild(document.createElement("iframe"));

		frame.onload = resolve;
		frame.src = where;
	}), `${origin}/debug/`);
	for (const frame of page.frames().slice(1))
		assert.equal(await frame.locator(".health").count(), 0);
	await page.context().close();
});
