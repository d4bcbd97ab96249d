"""The use cases: candidates to claims, claims to deliveries. Decisions are core's."""
