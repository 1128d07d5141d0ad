"""Put the recipes of the repository into wheels and sdists. Only pyproject.toml uses this file.

setuptools loads this file alone, before the dependencies of the package are installed.
"""

from pathlib import Path

from setuptools.command.build_py import build_py

TOP = Path(__file__).parents[2]


class BuildWithRecipes(build_py):
    """Copies `recipes/*.yaml` into the package. An editable install reads them in the repository."""

    def _recipes(self) -> dict[Path, Path]:
        target = Path(self.build_lib) / "prune_ssl" / "recipes" / "files"
        return {path: target / path.name for path in sorted((TOP / "recipes").glob("*.yaml"))}

    def run(self) -> None:
        """Build the package."""
        super().run()
        if not self.editable_mode:
            for source, target in self._recipes().items():
                self.mkpath(str(target.parent))
                self.copy_file(str(source), str(target))

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Return the built files."""
        own = [] if self.editable_mode else [str(target) for target in self._recipes().values()]
        return [*super().get_outputs(include_bytecode), *own]

    def get_source_files(self) -> list[str]:
        """Return the files that an sdist needs."""
        return [*super().get_source_files(), *(str(path.relative_to(TOP)) for path in self._recipes())]
