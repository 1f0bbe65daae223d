"""The error for a name that is not at the top of the package: it says in which room the name is."""

from types import ModuleType


def missing_name(package: ModuleType, name: str) -> AttributeError:
    """The error to raise where `package` has no attribute `name`.

    Args:
        package: a package whose public modules are its rooms.
        name: the attribute that was asked for.
    """
    rooms = [room for room in getattr(package, "__all__", ()) if isinstance(vars(package).get(room), ModuleType)]
    found = [
        f"{package.__name__}.{room}.{name}" for room in rooms if name in getattr(vars(package)[room], "__all__", ())
    ]
    where = f"; it is {' or '.join(found)}" if found else ""
    return AttributeError(f"module {package.__name__!r} has no attribute {name!r}{where}", name=name, obj=package)
