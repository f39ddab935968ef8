"""Observation, memory measures and diagnosis of recurrent networks."""
