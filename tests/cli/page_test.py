#!/usr/bin/env python3
"""Uses the page of `fovea serve` as a person does, in Debian's Chromium: questions, documents, the reading map, narrow and dark.

Called as: page_test.py BUILD/fovea SOURCE_FOLDER [unittest arguments]. Exit 77 without chromium, chromium-driver and
python3-selenium (tools/install.sh page). FV_SHOTS=FOLDER keeps pictures.
"""
import glob
import json
import os
import re
import shutil
import sys
import tempfile
import time
import unittest

if "/usr/lib/python3/dist-packages" not in sys.path:
    sys.path.append("/usr/lib/python3/dist-packages")  # Debian's selenium, whichever python3 runs this
try:
    from selenium import webdriver
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
except Exception as missing:  # one that was made for another python3 fails in other ways, too
    webdriver = None
    WHY = "python3-selenium is missing (%s)" % missing
from cli_runner import model
from serve_runner import Server, ServeTest, main

DOCUMENT = "".join("Anna has a %s kite and goes to the old mill with %s. " % (colour, name)
                   for colour in ("red", "blue", "silver", "green", "golden") for name in ("Bram", "Finn", "Tobo", "Mila"))


def found(name):
    return shutil.which(name) or next(iter(glob.glob("/usr/lib/chromium/" + name)), None)


def open_browser(folder):
    options = webdriver.ChromeOptions()
    options.binary_location = found("chromium")
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--window-size=1280,900",
                 "--disable-background-networking", "--disable-component-update", "--user-data-dir=" + os.path.join(folder, "profile")):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": folder, "download.prompt_for_download": False})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(service=Service(found("chromedriver")), options=options)


class Person:
    """What a person does in one browser, which all tests share."""
    browser = folder = None

    @classmethod
    def setUpClass(cls):
        if not Person.browser:
            Person.browser_folder = tempfile.TemporaryDirectory()
            Person.browser = cls.opened_browser(Person.browser_folder.name)
        super().setUpClass()

    @staticmethod
    def opened_browser(folder):
        """A browser that does not start here is not the page's fault: that is skipped, loudly."""
        for _ in range(2):
            try:
                return open_browser(folder)
            except WebDriverException as error:
                why = str(error).split("\n")[0]
        raise unittest.SkipTest("the browser does not start: " + why)

    def size(self, width, height):
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})

    def set(self, **settings):
        self.browser.execute_script("localStorage.setItem('fovea-settings', arguments[0])", json.dumps(settings))

    def visit(self):
        self.browser.get(self.server.url + "/")
        self.until(lambda: self.one("#model").text == "story")

    def one(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def many(self, selector):
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def js(self, code, *arguments):
        return self.browser.execute_script("return " + code, *arguments)

    def until(self, holds, seconds=30):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if holds():
                    return
            except Exception as error:  # what is looked at is being replaced
                last = error
            else:
                last = None
            time.sleep(0.03)
        raise AssertionError("it does not come to pass: %s" % (last or holds.__code__.co_consts,))

    def type(self, text):
        self.one("#question").send_keys(text, Keys.ENTER)

    def answers(self):
        return self.many("article.assistant")

    def done(self, count):
        self.until(lambda: len(self.many("article.assistant .figures")) == count and not self.many("article[aria-busy=true]"))
        return self.many("article.assistant .text")[-1].text

    def ask(self, text):
        count = len(self.answers())
        self.type(text)
        return self.done(count + 1)

    def button(self, text, within=""):
        return next(one for one in self.many(within + " button") if one.text == text)

    def shot(self, name):
        folder = os.environ.get("FV_SHOTS")
        if folder:
            self.browser.save_screenshot(os.path.join(folder, name + ".png"))

    def drop(self, path):
        self.one("#attach-file").send_keys(path)
        self.until(lambda: "read: " in self.one("#documents").text)

    def wide(self):
        return self.js("[document.documentElement.scrollWidth, innerWidth]")


class PageTest(Person, ServeTest):
    """Each test begins with nothing kept."""
    flags = ("-np", "2", "-c", "6144", "--chat-template", "chatml")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.document = os.path.join(cls.browser_folder.name, "kites.txt")
        with open(cls.document, "w") as file:
            file.write(DOCUMENT)

    def setUp(self):
        self.size(1280, 900)
        self.browser.get(self.server.url + "/health")
        self.browser.execute_async_script("const done = arguments[0]; localStorage.clear(); sessionStorage.clear();"
                                          "const gone = indexedDB.deleteDatabase('fovea'); gone.onsuccess = gone.onerror = gone.onblocked = () => done();")
        self.browser.get_log("browser")
        self.browser.get_log("performance")
        self.set(temperature="0", tokens="24")
        self.visit()

    def tearDown(self):
        """No error in the console, and no request to anybody else."""
        errors = [entry for entry in self.browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
        self.assertEqual(errors, [])
        for entry in self.browser.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                url = message["params"]["request"]["url"]
                self.assertTrue(url.startswith((self.server.url + "/", "blob:" + self.server.url, "data:")), url)

    # ---- tests ----

    def test_chat(self):
        first = self.ask("Anna went to the")
        self.assertTrue(first)
        whole = self.server.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "Anna went to the"}], "temperature": 0, "max_tokens": 24})[1]
        self.assertEqual(first.split(), whole["choices"][0]["message"]["content"].split())
        self.assertRegex(self.one(".figures").text, r"tokens/s .* keys read")
        self.assertEqual(self.one("#status").text and self.js("document.getElementById('status').getAttribute('aria-live')"), "polite")
        self.ask("Then")
        self.assertGreater(int(self.many(".figures")[-1].get_attribute("data-reused")), 8)
        self.button("Regenerate").click()  # a second version beside the first
        self.until(lambda: "2 of 2" in self.answers()[-1].text)
        self.one("[aria-label='Answer before']").click()
        self.until(lambda: "1 of 2" in self.answers()[-1].text)
        self.many("article.user")[0].find_element(By.XPATH, ".//button[text()='Edit']").click()
        area = self.one("form.edit textarea")
        area.clear()
        area.send_keys("Finn has a")
        self.button("Ask again").click()
        self.until(lambda: len(self.answers()) == 1 and len(self.many(".figures")) == 1)
        self.assertEqual(self.one(".bubble").text, "Finn has a")
        self.shot("chat")

    def test_streaming_and_stop(self):
        self.set(temperature="0", tokens="1800", reads=False)  # ends by itself after a hundred tokens and more
        self.visit()
        self.browser.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": False, "latency": 0, "downloadThroughput": 3000, "uploadThroughput": -1})
        self.type("Anna went to the")
        self.until(lambda: len(self.answers()[0].find_element(By.CSS_SELECTOR, ".text").text) > 20)
        self.assertEqual(self.one("#send").text, "Stop")
        self.one("#question").send_keys(Keys.ESCAPE)
        self.done(1)
        self.browser.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1})
        self.assertIn("stopped", self.one(".figures").text)
        self.assertEqual(self.one("#send").text, "Send")
        self.server.await_metric("llamacpp:requests_processing", 0)

    def test_document_and_reading_map(self):
        self.drop(self.document)
        first = self.ask("Who has a silver kite?")
        tokens = int(re.search(r"([\d,]+) tokens in", self.one(".figures").text).group(1).replace(",", ""))
        reused = int(self.one(".figures").get_attribute("data-reused"))
        self.assertGreater(reused, 0.9 * tokens)  # it was read before anything was asked
        self.ask("And who has a red one?")
        self.assertGreater(int(self.many(".figures")[-1].get_attribute("data-reused")), reused)
        self.many(".open-map")[0].click()
        self.check_map(first)
        self.shot("map")

    def check_map(self, answer):
        """What is shaded is what the server says, for the answer and for a word, by layers, too."""
        content = '<document name="kites.txt">\n%s\n</document>\n\nWho has a silver kite?' % DOCUMENT.strip()
        ask = {"messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 24, "fovea": {"reads": {"passages": 24}}}
        prompt = self.server.post("/apply-template", {"messages": ask["messages"]})[1]["prompt"]
        reads = self.server.post("/v1/chat/completions", ask)[1]["choices"][0]["reads"]
        self.assertEqual("".join(one["token"] for one in reads).split(), answer.split())
        self.compare(self.wanted(reads, prompt))
        self.assertEqual(self.one("#words").text.split(), answer.split())
        words = self.many("#words [data-word]")
        ActionChains(self.browser).move_to_element(words[1]).perform()
        second = self.word(reads, 1)
        self.compare(self.wanted(second, prompt))
        self.one("#words [tabindex='0']").send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
        self.compare(self.wanted(self.word(reads, 2), prompt))
        self.assertEqual(self.one("#words [aria-selected=true]").text, words[2].text)
        self.assertTrue(self.js("(() => { const box = document.getElementById('text').getBoundingClientRect(), top = [...document.querySelectorAll('#text .passage')]"
                                ".find((one) => one.style.getPropertyValue('--weight') === '1.000').getBoundingClientRect();"
                                "return top.top >= box.top - 1 && top.top < box.bottom; })()"))  # the passage that was read most is in sight
        self.button("By layer", "#map").click()
        self.until(lambda: self.one("#layer").is_displayed())
        self.js("(document.getElementById('layer').value = '1', document.getElementById('layer').dispatchEvent(new Event('change')))")
        ask["fovea"]["reads"] = {"passages": 12, "layers": True}
        layers = self.server.post("/v1/chat/completions", ask)[1]["choices"][0]["reads"]
        for one in layers:
            one["passages"] = one["layers"][1]
        self.compare(self.wanted(self.word(layers, 2), prompt))
        self.assertGreater(self.js("[...document.getElementById('strip').getContext('2d').getImageData(0, 9, 400, 1).data].filter((x) => x > 0).length"), 50)

    def word(self, reads, index):
        """Entries of one word's tokens."""
        words = []
        for one in reads:
            if not words or (one["token"][:1].isspace() and "".join(other["token"] for other in words[-1]).strip()):
                words.append([])
            words[-1].append(one)
        return words[index]

    def wanted(self, reads, prompt):
        shares = {}
        for one in reads:
            for passage in one["passages"]:
                place = prompt[passage["begin"]:passage["end"]], passage["begin"]
                shares[place] = shares.get(place, 0) + passage["share"] / len(reads)
        self.assertTrue(shares)
        return shares

    def compare(self, wanted):
        shown = {(text, begin): share for text, begin, share in
                 self.js("[...document.querySelectorAll('#text .passage')].map((one) => [one.textContent, +one.dataset.begin, +one.dataset.share])")}
        self.assertGreater(len(shown), 5)
        shown_characters = 0
        for (text, begin), share in wanted.items():
            whole = "".join(part for (part, at) in shown if at == begin)  # one at an edge is in two sections
            self.assertIn(whole, text)
            shown_characters += len(whole)
            for (_, at), other in shown.items():
                if at == begin:
                    self.assertAlmostEqual(other, share, delta=1e-4)
        self.assertGreater(shown_characters, 0.8 * sum(len(text) for text, _ in wanted))  # the rest is of the template
        weights = self.js("[...document.querySelectorAll('#text .passage')].map((one) => [+one.dataset.share, +one.style.getPropertyValue('--weight')])")
        most = max(share for share, _ in weights)
        for share, weight in weights:
            self.assertAlmostEqual(weight, share / most, delta=2e-3)

    def test_reload_export_import(self):
        self.drop(self.document)
        first = self.ask("Who has a silver kite?")
        self.visit()
        self.assertEqual(self.many("article.assistant .text")[0].text, first)
        self.assertEqual(self.one("article.user .document .name").text, "kites.txt")
        self.assertTrue(self.many(".open-map"))
        self.button("Export").click()
        path = os.path.join(self.browser_folder.name, "fovea-conversations.json")
        self.until(lambda: os.path.exists(path))
        with open(path) as file:
            kept = json.load(file)
        self.assertEqual(len(kept["conversations"]), 1)
        self.one("#list [aria-label^=Delete]").click()
        self.browser.switch_to.alert.accept()
        self.until(lambda: not self.many("#list li") and not self.answers())
        kept["conversations"][0]["messages"][1]["versions"][0]["text"] = "<img src=x onerror=alert(1)> <b>no</b>\n\n```c\nint x;\n```"
        with open(path, "w") as file:
            json.dump(kept, file)
        self.one("#import-file").send_keys(path)
        self.until(lambda: "<b>no</b>" in self.answers()[0].text)  # text, never markup
        self.assertEqual(self.one("figure.code code").text, "int x;")
        self.assertFalse(self.many("#log img, #log b"))
        with open(path, "w") as file:
            file.write('{"conversations":[{"id":1}]}')
        self.one("#import-file").send_keys(path)
        self.until(lambda: "no file of conversations" in self.one("#notice").text)
        os.remove(path)

    def test_narrow_wide_dark(self):
        self.drop(self.document)
        self.ask("Who has a silver kite, and " + "x" * 80 + "?")
        for scheme in ("light", "dark"):
            self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
            ground = [int(x) for x in re.findall(r"\d+", self.js("getComputedStyle(document.body).backgroundColor"))[:3]]
            ink = [int(x) for x in re.findall(r"\d+", self.js("getComputedStyle(document.body).color"))[:3]]
            self.assertEqual(sum(ground) > sum(ink), scheme == "light")
            for width in (320, 700, 1280, 1920):
                self.size(width, 640 if width == 320 else 900)
                self.assertLessEqual(*self.wide())
                self.shot("chat-%s-%d" % (scheme, width))
                self.js("document.querySelector('.open-map').click()")
                self.until(lambda: self.one("#map").is_displayed())
                self.assertLessEqual(*self.wide())
                self.shot("map-%s-%d" % (scheme, width))
                self.one("#close-map").click()
                self.assertFalse(self.one("#map").is_displayed())
        self.size(320, 640)
        self.one("#menu").click()
        self.assertTrue(self.one("#list").is_displayed())
        self.shot("list-dark-320")
        self.one("#menu").click()
        self.one("#open-settings").click()
        self.assertLessEqual(*self.wide())
        self.shot("settings-dark-320")
        self.js("(document.getElementById('set-policy').value = 'fovea', document.getElementById('set-policy').dispatchEvent(new Event('input', { bubbles: true })))")
        self.assertTrue(self.one("#set-budget").is_displayed())
        self.one("#set-theme").send_keys("light")
        self.assertEqual(self.js("getComputedStyle(document.body).colorScheme"), "light")
        self.button("Done", "#settings").click()
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})

    def test_every_control_has_a_name_and_the_keyboard_reaches_it(self):
        self.assertEqual(self.js("[...document.querySelectorAll('button, input, select, textarea')].filter((one) => !one.hidden && !(one.ariaLabel ||"
                                 "one.textContent.trim() || (one.labels && one.labels.length))).map((one) => one.outerHTML)"), [])
        self.one("#question").click()
        seen = set()
        for _ in range(12):
            ActionChains(self.browser).send_keys(Keys.TAB).perform()
            seen.add(self.js("document.activeElement.id"))
        self.assertLessEqual({"menu", "open-settings", "new", "attach", "question", "send"} - {"menu"}, seen)


class KeyTest(Person, ServeTest):
    """A server that asks for a key, and has its paths below a name."""
    flags = ("-c", "512", "--api-key", "secret", "--api-prefix", "/name")

    def test_key(self):
        self.browser.get(self.server.url + "/")
        self.until(lambda: self.one("#ask-key").is_displayed())
        self.one("#key").send_keys("wrong", Keys.ENTER)
        self.until(lambda: self.one("#ask-key").is_displayed())
        self.one("#key").send_keys(Keys.CONTROL, "a", Keys.NULL, "secret", Keys.ENTER)
        self.until(lambda: self.one("#model").text == "story")
        self.one("#question").send_keys("Anna", Keys.ENTER)
        self.until(lambda: "no chat template" in self.one(".error").text)
        self.browser.get_log("browser")  # refusals are in it


class NoPageTest(unittest.TestCase):
    def test_it_can_be_left_out(self):
        server = Server(model("story"), "--no-webui")
        self.assertEqual(server.ask("GET", "/")[0], 404)
        self.assertEqual(server.stop(), 0)


if __name__ == "__main__":
    if webdriver is None or not found("chromium") or not found("chromedriver"):
        print("skipped: %s; tools/install.sh page installs a browser" % (WHY if webdriver is None else "chromium or chromium-driver is missing"))
        sys.exit(77)
    try:
        main()
    finally:
        if Person.browser:
            Person.browser.quit()
            Person.browser_folder.cleanup()
