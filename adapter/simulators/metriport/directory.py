"""Who there is at the pretend Metriport: the sandbox patients, two facilities, a network directory. All invented."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from adapter.simulators.metriport import npi

DEFAULT_API_KEY: Final = "simulator-key"

_ROOT: Final = "2.16.840.1.113883.3.99999"


@dataclass(frozen=True, kw_only=True)
class SandboxPatient:
    """One of the patients that the sandbox has example data for."""

    id: str
    first_name: str
    last_name: str
    dob: str
    gender: str
    city: str
    state: str
    zip: str

    def record(self) -> dict[str, Any]:
        """The patient as the API shows one."""
        return {
            "id": self.id,
            "facilityIds": [FACILITIES[0]["id"]],
            "firstName": self.first_name,
            "lastName": self.last_name,
            "dob": self.dob,
            "genderAtBirth": self.gender,
            "address": [
                {
                    "addressLine1": "1 Example Street",
                    "city": self.city,
                    "state": self.state,
                    "zip": self.zip,
                    "country": "USA",
                }
            ],
            "eTag": "1",
            "dateCreated": "2026-01-01T00:00:00.000Z",
        }


FACILITIES: Final[tuple[dict[str, Any], ...]] = tuple(
    {
        "id": f"0190e9b0-0000-7000-9000-0000000000{number:02d}",
        "name": name,
        "npi": npi,
        "active": True,
        "address": {
            "addressLine1": f"{number} Harbor Road",
            "city": "Portland",
            "state": "ME",
            "zip": "04101",
            "country": "USA",
        },
    }
    for number, name, npi in (
        (1, "Harbor Family Practice", "1234567893"),
        (2, "Hilltop Clinic", "1245319599"),
    )
)

_PEOPLE: Final = (
    ("Jane", "Smith", "1996-02-10", "F", "Phoenix", "AZ", "85300"),
    ("Chris", "Smith", "1995-01-01", "M", "Chicago", "IL", "60601"),
    ("Ollie", "Brown", "1946-03-18", "M", "Harrisburg", "PA", "17101"),
    ("Andreas", "Brown", "1952-01-01", "M", "Jefferson City", "MO", "65101"),
    ("Kyla", "Fields", "1927-05-23", "F", "Portland", "ME", "04101"),
)
SANDBOX_PATIENTS: Final = tuple(
    SandboxPatient(
        id=f"0190e9b0-0000-7000-8000-0000000000{number:02d}",
        first_name=first,
        last_name=last,
        dob=dob,
        gender=gender,
        city=city,
        state=state,
        zip=zip_code,
    )
    for number, (first, last, dob, gender, city, state, zip_code) in enumerate(_PEOPLE, start=1)
)

_ORGANIZATIONS: Final = (
    ("Harbor Heart Clinic", "Portland", "ME", "EHEX"),
    ("Harbor Heart Clinic", "Portland", "OR", "CAREQUALITY"),
    ("Harbor Heart Center", "Bangor", "ME", "EHEX"),
    ("Lakeside Oncology", "Chicago", "IL", "CAREQUALITY"),
    ("Lakeside Oncology Associates", "Chicago", "IL", "COMMONWELL"),
    ("Mesa Orthopedics", "Phoenix", "AZ", "CAREQUALITY"),
    ("Capitol Internal Medicine", "Harrisburg", "PA", "COMMONWELL"),
    ("Riverbend Pediatrics", "Jefferson City", "MO", "EHEX"),
    ("Northwind Neurology", "Duluth", "MN", "CAREQUALITY"),
    ("Prairie Eye Institute", "Lincoln", "NE", "COMMONWELL"),
    ("Summit Sleep Medicine", "Denver", "CO", "EHEX"),
    ("Bayview Radiology", "Tampa", "FL", "CAREQUALITY"),
)
_DEPARTMENTS: Final = ("", "Scheduling", "Records")
_CLOSED: Final = "Capitol Internal Medicine Scheduling"
# Behind an organization of the list above: somebody, or a mailbox, with a Direct address.
_DIRECT: Final = (
    (1, "", "Referrals", "referrals@harbor-heart.example"),
    (1, "", "Archive", "full-mailbox@harbor-heart.example"),
    (1, "Ines", "Nakamura", "ines.nakamura@harbor-heart.example"),
    (1, "Ines", "Nakamura-Reyes", "ines.nakamura-reyes@harbor-heart.example"),
    (3, "Imani", "Nakamura", "imani.nakamura@harbor-heart.example"),
    (4, "Teo", "Varga", "teo.varga@lakeside-oncology.example"),
    (6, "Ada", "Lindqvist", "ada.lindqvist@mesa-orthopedics.example"),
    (9, "Noor", "Haddad", "noor.haddad@northwind-neurology.example"),
)


def _entry(index: int, *, name: str, oid: str, number: int) -> dict[str, Any]:
    organization, city, state, network = _ORGANIZATIONS[index - 1]
    return {
        "name": name,
        "oid": oid,
        "npi": npi.made(number),
        "addressLine": f"{index * 10} Main Street",
        "city": city,
        "zipCode": f"{10_100 + index * 37:05d}",
        "state": state,
        "rootOrganization": organization,
        "managingOrgOid": f"{_ROOT}.{index}",
        "network": network,
        "supportsMessaging": not name.endswith("Records"),
        "active": name != _CLOSED,
        "firstName": "",
        "lastName": "",
    }


def _organizations() -> list[dict[str, Any]]:
    return [
        _entry(
            index,
            name=f"{organization} {department}".strip(),
            oid=f"{_ROOT}.{index}.{part}" if part else f"{_ROOT}.{index}",
            number=index * 10 + part,
        )
        for index, (organization, *_) in enumerate(_ORGANIZATIONS, start=1)
        for part, department in enumerate(_DEPARTMENTS)
    ]


def _mailboxes() -> list[dict[str, Any]]:
    """Entries whose `oid`, which is the destination, is a Direct address."""
    return [
        {
            **_entry(index, name=f"{first} {last}".strip(), oid=address, number=1_000 + number),
            "firstName": first,
            "lastName": last if first else "",
        }
        for number, (index, first, last, address) in enumerate(_DIRECT)
    ]


NETWORK: Final = (*_organizations(), *_mailboxes())
# Known to the API's clients; the rest of an entry serves the look-ups.
ENTRY_FIELDS: Final = (
    "name", "oid", "npi", "addressLine", "city", "zipCode", "state", "rootOrganization", "managingOrgOid",
    "network", "supportsMessaging",
)  # fmt: skip
NETWORK_OF: Final[dict[str, str]] = {entry["oid"]: entry["network"] for entry in NETWORK}
DEMO_OID: Final[str] = NETWORK[0]["oid"]
DEMO_NPI: Final[str] = NETWORK[0]["npi"]

# Messages to these are accepted and then cannot be delivered.
FULL_MAILBOX: Final = "full-mailbox@harbor-heart.example"
UNREACHABLE: Final[dict[str, str]] = {
    FULL_MAILBOX: "The recipient's mailbox is full.",
    "unknown@harbor-heart.example": "The recipient's address does not exist.",
}
