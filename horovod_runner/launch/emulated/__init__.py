"""Emulated hosts: network namespaces with a share of this machine's cores and a link each, in which real ranks run.

Namespaces have no names: an owner holds them open, and the kernel takes them, with all links in them, when the owner
and its ranks are gone, however they end. Only control groups stay when an owner is killed; their names say whose they
are, and the next start removes them. The machine's own network is never touched.
"""
