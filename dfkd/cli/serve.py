"""``dfkd serve``: a teacher behind a small server, to try a client on."""

from dfkd.access.answers import check_access
from dfkd.access.server import TeacherServer
from dfkd.cli import arguments
from dfkd.cli.common import teacher_of
from dfkd.errors import DfkdError


def run_serve(command: arguments.Serve) -> int:
    """Serve until Ctrl-C; the first line printed is the address."""
    check_access(command.show)
    if command.facts.access is not None:
        raise DfkdError("a server answers for a network of its own: say what it shows by --show")
    teacher = teacher_of(command.teacher, command.facts)
    if teacher.opaque:
        raise DfkdError("a server answers for a network of its own: give one that is no http:")
    try:
        server = TeacherServer(teacher, command.show, command.port, command.price, command.rate)
    except (OSError, OverflowError) as error:
        raise DfkdError(f"--port {command.port} cannot be used ({error})") from None
    with server:
        print(server.url, flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print(f"{server.count():,} queries counted")
    return 0
