"""Drawn figures of people in layered Indian garments, with exact masks: for the demo, the tests and the benchmarks."""
