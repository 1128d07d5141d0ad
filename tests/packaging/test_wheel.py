"""What a wheel holds, and that its program works outside of a clone."""

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.paths import ROOT

RECIPES = sorted(path.name for path in (ROOT / "recipes").glob("*.yaml"))


def setuptools_is_new():
    try:
        import setuptools
    except ImportError:
        return False
    return int(setuptools.__version__.partition(".")[0]) >= 77


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """Return a copy of what git has, so that no build folder is left in the working tree."""
    folder = tmp_path_factory.mktemp("clone")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in listed.stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


@pytest.fixture(scope="module")
def wheel(clone, tmp_path_factory):
    """Build a wheel with this environment's setuptools, or where that is old with what pip fetches."""
    folder = tmp_path_factory.mktemp("wheel")
    more = ["--no-build-isolation"] if setuptools_is_new() else []
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--quiet",
        *more,
        "--wheel-dir",
        str(folder),
        str(clone),
    ]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode and not more:
        pytest.skip(f"no setuptools >= 77 here, and pip could not fetch one: {made.stderr.strip()[-200:]}")
    assert made.returncode == 0, made.stderr
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_a_wheel_holds_the_recipes_and_the_assets(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert sorted(Path(name).name for name in names if name.startswith("prune_ssl/recipes/files/")) == RECIPES
    assert "prune_ssl/assets/demo.yaml" in names
    assert "prune_ssl/reporting/page.html" in names
    assert not [name for name in names if not name.startswith(("prune_ssl/", "prune_ssl-"))]


@pytest.mark.slow
def test_an_installed_wheel_works_in_another_folder(wheel, tmp_path):
    place = tmp_path / "environment"
    venv.create(place, with_pip=False)
    program = place / ("Scripts" if os.name == "nt" else "bin")
    found = [*place.glob("lib/python*/site-packages"), *place.glob("Lib/site-packages")]
    site = found[0]
    zipfile.ZipFile(wheel).extractall(site)
    own = [path for path in sys.path if path.endswith("site-packages")]
    (site / "shared.pth").write_text("\n".join(own) + "\n")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(*arguments):
        code = "import sys; from prune_ssl.cli.app import main; sys.argv[0] = 'prune-ssl'; main()"
        command = [str(program / "python"), "-W", "ignore", "-c", code, *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    where = subprocess.run(
        [str(program / "python"), "-W", "ignore", "-c", "import prune_ssl; print(prune_ssl.__file__)"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert where.stdout.startswith(str(place)), where.stdout + where.stderr
    assert run("--version").stdout.startswith("prune-ssl ")
    listed = run("recipes")
    assert all(f"`{name}`" in listed.stdout for name in RECIPES), listed.stderr
    planned = run("run", "ks_digits_hj_mac", "--architecture")
    assert "Budget macs=50%" in planned.stdout, planned.stderr
    assert run("recipes", "--copy", "ks_digits_hj_mac").returncode == 0
    copied = (tmp_path / "ks_digits_hj_mac.yaml").read_text(encoding="utf-8")
    assert copied == (ROOT / "recipes" / "ks_digits_hj_mac.yaml").read_text(encoding="utf-8")
    assert run("run", "nothing").returncode == 2


@pytest.mark.slow
def test_an_sdist_holds_the_recipes(clone, tmp_path):
    if not setuptools_is_new():
        pytest.skip("building an sdist needs setuptools >= 77 in this environment")
    command = f"from setuptools import build_meta; build_meta.build_sdist({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", command], cwd=clone, check=True, capture_output=True)
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        names = archive.getnames()
    assert (
        sorted(Path(name).name for name in names if "/recipes/" in name and name.endswith(".yaml")) == RECIPES
    )
