"""What a release is published with: `notes TAG` and `sbom TAG`, each on stdout.

The notes are the version's section of CHANGELOG.md. The SBOM (CycloneDX 1.6, JSON) lists what `requirements.txt` pins
for this Python: everything that is deployed besides the app itself. pip-audit writes one as well, but without hashes
and package URLs.
"""

import re
import sys
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent


def notes(tag: str, changelog: str) -> str:
    """Return the section of a version, without its heading. Raises SystemExit where there is none."""
    for section in re.split(r"^## ", changelog, flags=re.MULTILINE)[1:]:
        heading, _, text = section.partition("\n")
        if heading.split()[0] == tag.removeprefix("v") and text.strip():
            return text.strip() + "\n"
    raise SystemExit(f"CHANGELOG.md has no section for {tag}. Write one before you tag.")


def sbom(tag: str, requirements: str) -> str:
    """Return the pins of a requirements file as CycloneDX. Raises SystemExit for a pin without a hash."""
    app = Component(name="amplitude-export", version=tag.removeprefix("v"), type=ComponentType.APPLICATION)
    bom = Bom()
    bom.metadata.component = app
    for pin in re.split(r"\n(?=\w)", re.sub(r"^\s*#.*\n", "", requirements, flags=re.MULTILINE).strip()):
        text, *hashes = re.split(r"\s*\\\s*--hash=sha256:", pin.strip())
        requirement = Requirement(text)
        if not hashes:
            raise SystemExit(f"{text} has no hash. Run `make lock`.")
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        version = str(requirement.specifier).removeprefix("==")
        url = PackageURL("pypi", None, requirement.name, version)
        known = [HashType(alg=HashAlgorithm.SHA_256, content=each) for each in hashes]
        bom.components.add(Component(name=requirement.name, version=version, purl=url, bom_ref=str(url), hashes=known))
    bom.register_dependency(app, bom.components)
    return make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2) + "\n"


if __name__ == "__main__":
    what, tag = sys.argv[1:]
    make, source = {"notes": (notes, "CHANGELOG.md"), "sbom": (sbom, "requirements.txt")}[what]
    sys.stdout.write(make(tag, (ROOT / source).read_text()))
