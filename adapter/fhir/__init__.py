"""The edge to the local FHIR server: how it is asked, and what its answers and notifications mean."""
