"""How FHIR becomes Metriport's JSON, and the other way: templates that a site may override."""
