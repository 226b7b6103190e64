"""The layout of utils/: packages named after stages, whose imports run one way, and what loads without TensorFlow."""

import ast
import collections
import glob
import os

import pytest
from command_line import PROJECT

# Lowest first: a package imports from those before it, and from itself. Files of utils/ itself count as packages.
LAYERS = (
    "tf_runtime",
    "system",
    "var_storage",
    "config",
    "imaging",
    "sampling",
    "preprocessing",
    "data_loader",
    "evaluation",
    "model_dir",
    "visualization",
    "inference",
    "html_report",
    "params",
    "job",
    "inspection",
    "fetching",
    "hooks",
    "running",
    "runner",
    "planning",
)
# What imports upwards all the same: module and package.
UPWARDS = {
    # Each of them is a runner, and the runner starts them.
    ("utils.running.benchmark_runner", "runner"),
    ("utils.running.cross_validation", "runner"),
}
MOST_ENTRIES = 22
# What loads TensorFlow where it is imported; everything else of utils/ is known before, so that bad input is refused in
# a fraction of a second.
WITH_TENSORFLOW = {
    "utils.tf_runtime",
    "utils.var_storage",
    "utils.data_loader",
    "utils.runner",
    "utils.hooks.*",
    "utils.running.*",
    "utils.inference.predictor",
    "utils.model_dir.checkpoints",
    "utils.system.tf_errors",
}


def path_of(module):
    """The file of a module, or None where there is none."""
    start = os.path.join(PROJECT, *module.split("."))
    return next((path for path in (start + ".py", os.path.join(start, "__init__.py")) if os.path.exists(path)), None)


def modules_of(*places):
    """The modules of utils/ and of what else is named, packages among them."""
    found = [path for place in places for path in glob.glob(os.path.join(PROJECT, place), recursive=True)]
    names = [os.path.relpath(path, PROJECT)[: -len(".py")].split(os.sep) for path in found]
    return sorted(".".join(name[:-1] if name[-1] == "__init__" else name) for name in names)


def imported(module, lazily=True):
    """The modules of utils/ and model/ that a module imports; with ``lazily``, also within its functions."""
    with open(path_of(module), encoding="utf-8") as file:
        tree = ast.parse(file.read())
    nodes, found = list(tree.body), set()
    while nodes:
        node = nodes.pop()
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = ["{}.{}".format(node.module, alias.name) for alias in node.names]
            names = [name if path_of(name) else node.module for name in names]
        found.update(name for name in names if name.split(".")[0] in ("utils", "model"))
        if lazily or not isinstance(node, (ast.FunctionDef, ast.Lambda)):
            nodes.extend(ast.iter_child_nodes(node))
    return found


def package_of(module):
    return module.split(".")[1]


def loads(module):
    """All modules that are loaded with a module."""
    found, left = {module}, [module]
    while left:
        new = imported(left.pop(), lazily=False) - found
        found |= new
        left.extend(new)
    return found


MODULES = [module for module in modules_of("utils/**/*.py") if module != "utils"]
PACKAGES = [name for name in MODULES if os.path.basename(path_of(name)) == "__init__.py"]


def test_entries_are_few():
    entries = [name for name in os.listdir(os.path.join(PROJECT, "utils")) if name != "__pycache__"]
    assert len(entries) <= MOST_ENTRIES, sorted(entries)
    # A folder that holds no package would hide from the other tests.
    folders = [name for name in entries if os.path.isdir(os.path.join(PROJECT, "utils", name))]
    assert sorted(folders) == [package_of(package) for package in PACKAGES]


def test_layers_are_those_that_are_there():
    assert sorted(LAYERS) == sorted({package_of(module) for module in MODULES})


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_tell_what_lives_there(package):
    with open(path_of(package), encoding="utf-8") as file:
        tree = ast.parse(file.read())
    assert ast.get_docstring(tree) and len(tree.body) == 1


class TestImports:
    def test_between_packages_run_one_way(self):
        upwards = set()
        for module in MODULES:
            for other in imported(module):
                if other.startswith("utils.") and LAYERS.index(package_of(other)) > LAYERS.index(package_of(module)):
                    upwards.add((module, package_of(other)))
        assert upwards == UPWARDS

    def test_are_of_modules_and_not_of_packages(self):
        """Packages are empty, so that importing one module loads no other."""
        assert [(module, other) for module in MODULES for other in imported(module) if other in PACKAGES] == []

    def test_of_modules_make_no_circle(self):
        """Those that are followed when a module is loaded."""
        left = {module: imported(module, lazily=False) for module in MODULES}
        while left:
            free = [module for module, others in left.items() if not others & set(left)]
            assert free, sorted(left)
            for module in free:
                del left[module]


class TestBeforeTensorflow:
    def test_everything_loads_but_what_is_listed(self):
        loading = {module for module in MODULES if "utils.tf_runtime" in loads(module)}
        listed = {name for name in WITH_TENSORFLOW if not name.endswith(".*")}
        for whole in sorted(WITH_TENSORFLOW - listed):
            inside = {module for module in loading if module.startswith(whole[:-1])}
            assert inside, whole
            listed |= inside
        assert loading == listed


class TestTests:
    def test_lie_in_folders_named_after_what_they_test(self):
        known = {package_of(package) for package in PACKAGES}
        known |= {"benchmarks", "end_to_end", "examples", "helpers", "model"}
        tests = os.path.join(PROJECT, "tests")
        folders = {name for name in os.listdir(tests) if os.path.isdir(os.path.join(tests, name))} - {"__pycache__"}
        assert folders <= known

    def test_have_names_of_their_own(self):
        """Files are told apart by name alone: by pytest, and by runs that share them."""
        names = [name.split(".")[-1] for name in modules_of("tests/**/*.py")]
        assert [name for name, count in collections.Counter(names).items() if count > 1] == []
