"""Draw docs/lesson.png: the lesson for XOR in a browser, at one step. Needs selenium, Chromium and Pillow.

python scripts/lesson_picture.py
"""

import base64
import io
import shutil
import tempfile
import time
from pathlib import Path

from PIL import Image
from selenium import webdriver

from bpjax.cli import main as bpjax

PICTURE = Path(__file__).parents[1] / "docs" / "lesson.png"
WIDTH, SCALE, COLOURS = 1440, 1.25, 96
SHOWN = "state.phase = 'back'; state.n = 1; showStep(58); return element('numbers').getBoundingClientRect().top"


def main() -> None:
    """Write the page, open it, and store what it shows above the table of numbers."""
    page = Path(tempfile.mkdtemp()) / "xor.html"
    assert bpjax(["lesson", "xor", "--output", str(page)]) == 0
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "hide-scrollbars"):
        options.add_argument(f"--{flag}")
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    size = {"width": WIDTH, "height": 900, "deviceScaleFactor": SCALE, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page.as_uri())
    time.sleep(1)  # the page repeats the run with its own arithmetic
    height = browser.execute_script(SHOWN)
    clip = {"x": 0, "y": 0, "width": WIDTH, "height": height, "scale": 1}
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    browser.quit()
    image = Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")
    image.quantize(COLOURS).save(PICTURE, optimize=True)
    print(f"{PICTURE}: {PICTURE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
