"""Which version of a source a map is made of: size and time of change of every file that it is read from.

Taken before the source is opened, and again when the map is computed and when all is written: a result that calls
itself complete is of one version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from segment_tiles.pipeline.context_pool import ContextPool
from segment_tiles.pipeline.errors import SourceChangedError
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.pipeline.names import is_stack, shown_name
from segment_tiles.pipeline.sources.rasters.sidecars import is_remote
from segment_tiles.pipeline.sources.stacks.description import files_of, heights_of_members
from segment_tiles.pipeline.sources.stacks.signing import address_of, signed_anew
from segment_tiles.pipeline.sources.versions.ranges import MEMBERS, UNGUARDED, Guard, guard_of
from segment_tiles.pipeline.sources.versions.read_files import Walk, read_files
from segment_tiles.pipeline.sources.versions.server import answer_of, remote_version
from segment_tiles.pipeline.sources.versions.sidecar_meaning import aux_meaning, is_aux
from segment_tiles.pipeline.sources.view import View

Version = list[int] | dict[str, Any] | None
SERVERS_AT_ONCE: Final = 16
ANEW: Final = "give --restart to begin anew with what is there now"


def source_version(uri: str, *, overviews: bool = True) -> Version:
    """Return what tells whether a source is still the same; None if nothing does.

    - of one local file its bytes and the time of its last change in ns;
    - of several (a folder, sidecars, members of a VRT or of a mosaic, however deep) their number, bytes, latest
      change, and a checksum over name, size and time of each; of an ``.aux.xml`` what it says counts, but statistics
      and histograms do not; of remote members a checksum over what their servers say, None if one does not answer;
    - of a remote one what its server says: ETag, else Last-Modified, and size.

    Parameters
    ----------
    uri
        Of the source.
    overviews
        Whether overviews in a file beside it are read.
    """
    if is_stack(uri):
        return _version_of_stack(uri, overviews=overviews)
    return remote_version(uri) if is_remote(uri) else _local_version(read_files(uri, overviews=overviews))


def _version_of_stack(uri: str, *, overviews: bool) -> Version:
    """Return the versions of all files of a stack, by their names without secrets; servers are asked several at once.

    A signature that has run out is made anew: the server would say nothing.
    """

    def told(file: str) -> Version:
        address = address_of(uri, file)
        found = source_version(address, overviews=overviews)
        if found is None and address != file:
            found = source_version(signed_anew(uri, file), overviews=overviews)
        return found

    files = (*files_of(uri), *heights_of_members(uri))
    with ContextPool(min(SERVERS_AT_ONCE, len(files))) as pool:
        return {MEMBERS: dict(zip(map(shown_name, files), pool.map(told, files), strict=True))}


def source_versions(uris: Sequence[str]) -> list[Version]:
    """Return the versions of the scenes of a mosaic, thousands in a second.

    Local TIFFs and pictures are not opened; servers are asked several at once.
    """
    walk = Walk()
    with ContextPool(SERVERS_AT_ONCE) as pool:
        told = {uri: pool.submit(remote_version, uri) for uri in uris if is_remote(uri)}
        return [
            told[uri].result() if uri in told else _local_version(list(walk.of(uri, is_member=True)))
            for uri in uris
        ]


def reads_overviews(level: int | None, view: View) -> bool:
    """Return whether a run reads a raster from its overviews, so that they count."""
    return bool(level) or any(size is not None for size in (view.mpp, view.source_mpp, view.metres))


def _local_version(named: Sequence[Path | str]) -> Version:
    if not any(isinstance(name, Path) for name in named):
        return None
    local = {str(name): _counting(name) for name in named if isinstance(name, Path)}
    local = {name: told for name, told in local.items() if told != _SAYS_NOTHING}
    urls = [name for name in named if isinstance(name, str)]
    if len(local) == 1 and not urls and not isinstance(only := next(iter(local.values())), str):
        return only
    return _of_several(local, urls)


_SAYS_NOTHING: Final = "nothing"


def _counting(file: Path) -> list[int] | str | None:
    """Return what counts of one file: size and time, or what a sidecar says; None if it is not there."""
    return aux_meaning(file) or _SAYS_NOTHING if is_aux(file) else _status(file)


def _of_several(local: dict[str, list[int] | str | None], urls: list[str]) -> dict[str, Any]:
    with ContextPool(SERVERS_AT_ONCE) as pool:
        told = dict(zip(map(shown_name, urls), pool.map(answer_of, urls), strict=True))
    there = [status for status in local.values() if isinstance(status, list)]
    # apart from the files, which are compared if a server is silent too
    servers = {} if not urls else {_SERVERS: None if None in told.values() else _checksum(told)}
    return {
        "files": len(local) + len(urls),
        "bytes": sum(size for size, _ in there),
        "changed": max((changed for _, changed in there), default=0),
        "sha256": _checksum(local),
        **servers,
    }


_SERVERS: Final = "servers"


def _checksum(values: Mapping[str, Any]) -> str:
    return sha256(json_text(values, sort_keys=True, indent=None).encode()).hexdigest()


def is_same_version(before: Any, now: Any) -> bool:
    """Return whether two versions are of the same source, as far as both are known: a silent server says nothing."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        return bool(before == now)
    if MEMBERS in before and MEMBERS in now:
        return not _changed_members(before, now)
    is_silent = None in {before.get(_SERVERS, ""), now.get(_SERVERS, "")}
    names = (before.keys() | now.keys()) - ({_SERVERS} if is_silent else set())
    return all(before.get(name) == now.get(name) for name in names)


def _changed_members(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the names of the files of a stack that are others now; a server that is silent says nothing."""
    one, other = before[MEMBERS], now[MEMBERS]
    return [
        name
        for name in {**one, **other}
        if not is_same_version(one.get(name), other.get(name))
        and not (is_remote(name) and None in {_known(one.get(name)), _known(other.get(name))})
    ]


def differing(before: Any, now: Any) -> tuple[Any, Any]:
    """Return of two versions of a stack the parts that differ; of other sources both as they are."""
    if not (isinstance(before, dict) and isinstance(now, dict) and MEMBERS in before and MEMBERS in now):
        return before, now
    names = _changed_members(before, now)
    one, other = ({name: version[MEMBERS].get(name) for name in names} for version in (before, now))
    return one, other


@dataclass(frozen=True, slots=True)
class KnownVersion:
    """The version that a source had when it was first looked at; plain data, travels to workers."""

    uri: str = field(repr=False)  # may hold secrets
    """Of the source."""
    before: Version
    """Its version then."""
    overviews: bool = True
    """As for `source_version`."""
    guard: Guard = UNGUARDED
    """What keeps other versions away, if the server can tell."""
    remedy: str = ANEW
    """What the user can do about a change."""

    def now(self) -> Version:
        """Return what it is now."""
        return source_version(self.uri, overviews=self.overviews)

    def require_same(self, *, or_gone: bool = False) -> None:
        """Refuse to go on with a source that is not what it was.

        Parameters
        ----------
        or_gone
            It may be gone: a map that is computed needs its source no more, and a drive may come back.

        Raises
        ------
        SourceChangedError
            With both versions in one line. What a server does not tell is not compared.
        """
        now = self.now()
        if or_gone and isinstance(now, dict) and isinstance(self.before, dict) and MEMBERS in now:
            kept = {name: told or self.before[MEMBERS].get(name) for name, told in now[MEMBERS].items()}
            now = {MEMBERS: kept}
        if not (or_gone and now is None):
            require_equal(self.uri, self.before, now, self.remedy)


def unwatched_note(uri: str, version: Version) -> str | None:
    """Return what to tell the user of a remote source of which nothing says whether it changes."""
    silent = version is None and is_remote(uri)
    if isinstance(version, dict) and MEMBERS in version:
        silent = any(told is None and is_remote(name) for name, told in version[MEMBERS].items())
    if not silent:
        return None
    return (
        "nothing tells the version of this remote source (no ETag, no time of change, or a storage that is not asked): "
        "if it changes during the run, nobody notices"
    )


def with_guard(known: KnownVersion) -> KnownVersion:
    """Return the version with what keeps others away; a server is asked once what it knows."""
    if not isinstance(known.before, dict):
        return known
    return replace(known, guard=guard_of(known.uri, known.before))


def known_version(uri: str, *, overviews: bool = True, remedy: str = ANEW) -> KnownVersion:
    """Return the version of a source, to be compared with later; taken before it is opened."""
    return KnownVersion(uri, source_version(uri, overviews=overviews), overviews, remedy=remedy)


def require_equal(uri: str, before: Version, now: Version, remedy: str = ANEW) -> None:
    """Refuse a source that has another version now.

    Raises
    ------
    SourceChangedError
        With both versions in one line. What a server does not tell is not compared.
    """
    if is_same_version(before, now) or (is_remote(uri) and None in {_known(before), _known(now)}):
        return
    if isinstance(before, dict) and isinstance(now, dict) and MEMBERS in before and MEMBERS in now:
        name = _changed_members(before, now)[0]
        require_equal(name, before[MEMBERS].get(name), now[MEMBERS].get(name), remedy)
    if now is None:
        remedy = "put it back as it was, and the same command goes on" if remedy == ANEW else remedy
    msg = (
        f"{shown_name(uri)}: changed while it was read (it was {_said(before)}; it is {_said(now)}); nothing of two "
        f"versions is completed: {remedy}"
    )
    raise SourceChangedError(msg)


def _known(version: Version) -> bool | None:
    return None if version is None else True


def _said(version: Version) -> str:
    if version is None:
        return "not there"
    if isinstance(version, list):
        size, changed = version
        return f"{size:,} bytes, of {changed / 1e9:.3f} s"
    if "sha256" in version:
        local = f"{version['files']} files, {version['bytes']:,} bytes, the last of {version['changed'] / 1e9:.3f} s"
        servers = version.get(_SERVERS)
        return f"{local}, servers say {servers[:12]}" if servers else local
    return ", ".join(f"{name} {value}" for name, value in version.items())


def _status(path: Path) -> list[int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]
