#!/usr/bin/env bash
# Makes the archives beside this script, once; the tests read what is committed. Each holds the same two event files.
# Made with Info-ZIP 3.0, 7-Zip 26.01, OpenJDK 17.0.15, zipstream-ng 1.9.3, libarchive 3.6.2 (by libarchive-c 5.3).
# macos.zip has the form of macOS's Archive Utility, written by Python's zipfile: no free tool makes it elsewhere.
set -euo pipefail
out=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
cd "$work"
mkdir 187520
printf '{"uuid":"1","n":0.0}\n{"uuid":"2"}\n' | gzip -n >'187520/187520_2025-11-04_0#0.json.gz'
{ printf '{"uuid":"3"}\n' | gzip -n; printf '{"uuid":"4"}' | gzip -n; } >'187520/187520_2025-11-04_13#1.json.gz'

rm -f "$out"/*.zip
zip -qr0 "$out/infozip-stored.zip" 187520
zip -qr9 "$out/infozip-deflated.zip" 187520
zip -qr0 - 187520 | cat >"$out/infozip-piped-stored.zip"
zip -qr9 - 187520 | cat >"$out/infozip-piped-deflated.zip"
7zz a -bso0 -tzip -mx0 "$out/7zip-stored.zip" 187520
7zz a -bso0 -tzip -mx9 "$out/7zip-deflated.zip" 187520
jar cfM0 "$out/java-stored.zip" 187520
jar cfM "$out/java-deflated.zip" 187520
python3 - "$out" <<'PYTHON'
import io, pathlib, sys, zipfile
import libarchive, zipstream

out = pathlib.Path(sys.argv[1])
files = sorted(pathlib.Path("187520").iterdir())
for name, kind in (("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED)):
    archive = zipstream.ZipStream(compress_type=kind)
    archive.add_path("187520")
    (out / f"zipstream-ng-{name}.zip").write_bytes(b"".join(archive))

    class Pipe(io.RawIOBase):  # cannot seek, so that zipfile writes descriptors
        def __init__(self): self.data = b""
        def writable(self): return True
        def write(self, data): self.data += bytes(data); return len(data)
        def seekable(self): return False

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", kind) as archive:
        for file in files:
            archive.write(file)
    (out / f"python-piped-{name}.zip").write_bytes(pipe.data)

    pieces = []
    with libarchive.custom_writer(lambda data: pieces.append(bytes(data)) or len(data), "zip", options=f"zip:compression={'store' if name == 'stored' else 'deflate'}") as archive:
        archive.add_files("187520")
    (out / f"libarchive-{name}.zip").write_bytes(b"".join(pieces))

pipe = Pipe()
with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
    archive.write("187520/")
    for file in files:
        archive.write(file)
    archive.comment = b""
    archive.writestr("__MACOSX/187520/._notes", bytes.fromhex("00051607000200004d6163204f532058"))
(out / "macos.zip").write_bytes(pipe.data)
PYTHON
rm -r "$work"
