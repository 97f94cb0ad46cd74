"""The process and the machine: optional packages, locks between processes, forks, warnings that are given once."""
