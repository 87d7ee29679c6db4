"""A pretend Metriport Message Delivery: endpoints, webhooks, limits and both dialects of the published contract."""

from adapter.simulators.metriport.directory import (
    DEFAULT_API_KEY,
    DEMO_NPI,
    DEMO_OID,
    FULL_MAILBOX,
    SANDBOX_PATIENTS,
)
from adapter.simulators.metriport.world import World

__all__ = ["DEFAULT_API_KEY", "DEMO_NPI", "DEMO_OID", "FULL_MAILBOX", "SANDBOX_PATIENTS", "World"]
