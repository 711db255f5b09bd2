"""The rooms of the package, see docs/architecture.md: imports run one way, and a newcomer touches few files."""
import ast
from pathlib import Path
from typing import Iterator, Tuple

from helpers import ROOT

# from the ground up: a room imports from those before it alone. What shares a line does not import each other.
FLOORS = (
    ('version', ),
    ('compat', 'errors', 'messages', 'files', 'registry', 'meta'),
    ('boundary', 'machine'),
    ('weights', 'layers'),
    ('models', ),
    ('catalogue', ),
    ('config', ),
    ('data', ),
    ('datasets', 'optim', 'transforms'),
    ('hooks', ),
    ('swap', 'training', 'bench'),
    ('cli', ),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
PACKAGE = ROOT / 'mmbackbones'
# the package itself checks the versions of the stack when it is imported, and runs as a program
DOORS = ('__init__.py', '__main__.py')


def imports(path: Path) -> Iterator[str]:
    """Modules of ours that a file imports, at its top or in a function, by their names below the package."""
    package = ('mmbackbones', *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            start = package[:len(package) - node.level + 1] if node.level else ()
            module = '.'.join((*start, *([node.module] if node.module else [])))
            # `from . import name`: the names may be modules
            names = [f'{module}.{alias.name}' for alias in node.names] if module == 'mmbackbones' else [module]
        else:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            if name.startswith('mmbackbones.'):
                yield name.removeprefix('mmbackbones.')


def crossings() -> Iterator[Tuple[str, str, str]]:
    """Every import from one room in another: file, its room, the room that it imports from."""
    for path in sorted(PACKAGE.rglob('*.py')):
        where = path.relative_to(PACKAGE)
        if str(where) in DOORS:
            continue
        room = where.parts[0].removesuffix('.py')
        for module in imports(path):
            other = module.partition('.')[0]
            if other != room:
                yield str(where), room, other


def test_every_module_is_in_a_room_that_the_architecture_names():
    rooms = {path.name.removesuffix('.py') for path in PACKAGE.iterdir() if path.name not in (*DOORS, '__pycache__')}
    assert {room for room in rooms if not room.startswith('py.')} == FLOOR_OF.keys()
    page = (ROOT / 'docs' / 'architecture.md').read_text()
    assert [room for room in FLOOR_OF if f'`{room}' not in page] == []


def test_imports_run_one_way():
    wrong = [f'{file} imports {other}' for file, room, other in crossings() if FLOOR_OF[other] >= FLOOR_OF[room]]
    assert wrong == []


def test_a_model_file_imports_layers_the_base_class_and_the_registry_alone():
    """One family, one file: what it shares with another one is a layer."""
    for path in sorted((PACKAGE / 'models').glob('[!_]*.py')):
        assert set(imports(path)) <= {'layers', 'models._base', 'registry',
                                      *map('layers.{}'.format, _layer_files())}, path


def _layer_files() -> Iterator[str]:
    return (path.stem for path in (PACKAGE / 'layers').iterdir())


def test_no_test_imports_another_one():
    for path in sorted((ROOT / 'tests').rglob('test_*.py')):
        modules = {
            name
            for node in ast.walk(ast.parse(path.read_text()))
            for name in ([node.module or ''] if isinstance(node, ast.ImportFrom) else
                         [alias.name for alias in node.names] if isinstance(node, ast.Import) else [])
        }
        assert not [name for name in modules if name.startswith('test_') or name == 'conftest'], path
