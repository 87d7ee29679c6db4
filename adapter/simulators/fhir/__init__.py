"""A pretend FHIR R4 server: what the adapter and its tests ask of one, answered as HAPI answers it."""

from adapter.simulators.fhir.faults import Fault
from adapter.simulators.fhir.outcome import Refused
from adapter.simulators.fhir.world import Logged, World

__all__ = ["Fault", "Logged", "Refused", "World"]
