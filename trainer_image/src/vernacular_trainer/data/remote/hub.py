"""Repositories of a model hub: files of data sets, and what the hub's refusals mean."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vernacular_trainer.contract import StageFailure
from vernacular_trainer.data.remote.files import MOST_FILES, Access, Listing, RemoteFile
from vernacular_trainer.errors import StageError, is_full_disk, refused

SCHEME = "hf://"
_PUBLIC = "https://huggingface.co"
# how the hub tells the splits of a data set apart: by words in the names of its files
_TRAIN = re.compile(r"(^|[/._ -])train(ing)?([/._ -]|$)", re.IGNORECASE)
_HELD_OUT = re.compile(r"(^|[/._ -])(test(ing)?|eval(uation)?|dev|val(id(ation)?)?)([/._ -]|$)", re.IGNORECASE)


def list_source(access: Access, wanted: Callable[[str], bool]) -> Listing:
    """The file of the uri, the `wanted` ones in its folder, or of a whole data set those of its training split.

    Raises StageError: `access.missing`, `access.denied`, SecretMissing, ArgumentRefused, SourceUnavailable.
    """
    from huggingface_hub import HfApi

    repository, path = _parts(access)
    with explained(access):
        api = HfApi(endpoint=endpoint(), token=token(access) or False)
        commit = str(api.dataset_info(repository, revision=access.revision).sha)
        # the names that come with the commit may be cut
        names = sorted(api.list_repo_files(repository, revision=commit, repo_type="dataset"))
    below = [name for name in names if name.startswith(path)] if path.endswith("/") or not path else []
    if len(below) > MOST_FILES:
        raise refused(f"{access.uri} has more than {MOST_FILES:,} files", "name a folder with fewer")
    chosen = [path] if path in names else [name for name in below if wanted(name)]
    chosen = chosen if path else _training_split(chosen)
    if not chosen:
        raise _without_files(access, path, names)
    authorise(access, repository, commit, chosen[0], "dataset")
    repo = _Repository(access, repository, commit)
    ignored = sorted(set(below) - set(chosen))
    return Listing(tuple(map(repo.file, chosen)), tuple(map(repo.name, ignored)))


def _parts(access: Access) -> tuple[str, str]:
    """The repository and the path in it, "" for all of it."""
    organisation, name, *path = access.uri.removeprefix(SCHEME).split("/", 2)
    return f"{organisation}/{name}", path[0] if path else ""


def _training_split(names: Sequence[str]) -> list[str]:
    training = [name for name in names if _TRAIN.search(name)]
    return training or [name for name in names if not _HELD_OUT.search(name)]


def _without_files(access: Access, path: str, names: Sequence[str]) -> StageError:
    listed = ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
    if path and not path.endswith("/"):
        advice = f"write one of its files ({listed}), or a folder with '/' at its end"
        return StageError(access.missing, f"{access.uri} does not exist", advice)
    advice = "name one of its files, or another data set: files of rows are JSON Lines, JSON, CSV, Excel and Parquet"
    return StageError(access.missing, f"{access.uri} holds no file of rows to train on", advice, listed)


@dataclass(frozen=True)
class _Repository:
    """A data set of a hub at one commit."""

    access: Access
    repository: str
    commit: str

    def name(self, path: str) -> str:
        return f"{SCHEME}{self.repository}/{path}"

    def file(self, path: str) -> RemoteFile:
        identity = f"{endpoint()} {self.name(path)} {self.commit}"
        version = hashlib.sha256(identity.encode()).hexdigest()
        fetch = partial(self._fetch, path)
        # a hub gives access to repositories: the listing has asked for all their files
        return RemoteFile(self.name(path), path, version, endpoint() or _PUBLIC, lambda: None, fetch)

    def _fetch(self, path: str, folder: Path) -> None:
        from huggingface_hub import hf_hub_download

        with explained(self.access):
            hf_hub_download(
                self.repository,
                path,
                repo_type="dataset",
                revision=self.commit,
                local_dir=folder,
                token=token(self.access) or False,
                endpoint=endpoint(),
            )


def endpoint() -> str | None:
    """The mirror that the environment names, None for the public hub."""
    return os.environ.get("HF_ENDPOINT") or None


def token(access: Access) -> str | None:
    """The token of the Secret, None without one. Raises StageError (SecretMissing)."""
    return access.required_secret("HF_TOKEN") if access.credentials_name else None


def authorise(access: Access, repository: str, commit: str, path: str, kind: str) -> None:
    """Ask for a file of the repository, if it is there: what a gated one holds, a hub tells those who may not read it.

    Raises StageError as list_source does.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    url = hf_hub_url(repository, path, repo_type=kind, revision=commit, endpoint=endpoint())
    with contextlib.suppress(EntryNotFoundError), explained(access):
        get_hf_file_metadata(url, token=token(access) or False, endpoint=endpoint(), retry_on_errors=True)


@contextlib.contextmanager
def explained(access: Access) -> Iterator[None]:
    """What the hub refuses is a StageError: `access.missing`, `access.denied`, ArgumentRefused, SourceUnavailable."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.errors import HTTPError as ClientError  # type: ignore[attr-defined] # of its HTTP client

    try:
        yield
    except GatedRepoError as error:
        raise _denied(access, error) from None
    except RepositoryNotFoundError as error:
        if _status(error) in (401, 403):
            raise _denied(access, error) from None
        advice = "check the spelling: hf://<organisation>/<name>; for a private one name a Secret with HF_TOKEN"
        raise StageError(access.missing, f"{access.uri} does not exist", advice) from None
    except RevisionNotFoundError:
        message = f"{access.uri} has no revision {access.revision}"
        raise StageError(access.missing, message, "write a branch, tag or commit of it in revision") from None
    except HFValidationError:
        message = f"{access.uri} is no name that a hub gives"
        raise refused(message, "write hf://ORGANISATION/NAME as the hub's page shows it") from None
    except LocalEntryNotFoundError as error:
        # the library takes a refused file for a hub that is away
        if _status(error.__cause__) in (401, 403):
            raise _denied(access, error.__cause__) from None
        raise _unavailable(access, type(error).__name__) from None
    except ClientError as error:
        if (status := _status(error)) in (401, 403):
            raise _denied(access, error) from None
        # without a status there was no answer
        if status in (0, 429) or status >= 500:
            raise _unavailable(access, f"HTTP {status}" if status else type(error).__name__) from None
        raise
    except (RuntimeError, OSError) as error:
        # what a broken-off download raises, of which files of this machine have a number
        if is_full_disk(error) or getattr(error, "errno", None) is not None:
            raise
        raise _unavailable(access, type(error).__name__) from None


def _denied(access: Access, error: BaseException | None) -> StageError:
    who = f"with the token of the Secret {access.credentials_name}" if access.credentials_name else "without a token"
    advice = "accept the terms on its page, and name a Secret with the key HF_TOKEN in credentials"
    return StageError(access.denied, f"{access.uri} may not be read {who}", advice, f"HTTP {_status(error)}")


def _unavailable(access: Access, evidence: str) -> StageError:
    message = f"{access.uri} cannot be read from {endpoint() or 'the hub'} now"
    advice = "it is tried again; if it stays, check that prepare pods may reach the hub or its mirror"
    return StageError(StageFailure.SOURCE_UNAVAILABLE, message, advice, evidence)


def _status(error: BaseException | None) -> int:
    return int(getattr(getattr(error, "response", None), "status_code", 0) or 0)
