"""The services that run apps: one interface, one file per provider. A provider knows no other provider."""
