"""A switch with a cable to each host: namespaces, pairs of virtual interfaces, a bridge, and token buckets.

The switch is a namespace, too, so that two clusters may use the same addresses. A cable is shaped at both ends, and so
in both directions.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from horovod_runner.launch.emulated import kernel

NETWORK = "10.77.0."
INTERFACE = "eth0"
_BRIDGE = "switch"

# A bucket takes two of the largest pieces that segmentation offload hands over, or a millisecond of a fast link.
_LEAST_BURST = 2 * 65536
_BURST_SECONDS = 1e-3
_QUEUE_SECONDS = 0.05
_HANDLE = 0x10000  # 1:0, the root's

_CONGESTION = Path("/proc/sys/net/ipv4/tcp_congestion_control")
_DISABLE_IPV6 = Path("/proc/sys/net/ipv6/conf/all/disable_ipv6")


class Network:
    """A switch and the cables to so many hosts; it is gone when it is closed, or when this process is.

    Everything about a namespace is done by one thread, which lives in the switch's: this process stays where it is.
    """

    def __init__(self, hosts: int, rate_mbit: float | None) -> None:
        self._descriptors: list[int] = []
        self._thread = ThreadPoolExecutor(1, "switch")
        self._ports: list[int] = []
        try:
            self._do(lambda: self._build(hosts, rate_mbit))
        except BaseException:
            self.close()
            raise

    def namespace(self, host: int) -> str:
        """Return the path by which other processes enter a host's namespace."""
        return f"/proc/{os.getpid()}/fd/{self._descriptors[host]}"

    def plug(self, host: int, *, in_: bool) -> None:
        """Put a host's cable into the switch, or pull it out."""
        self._do(lambda: self._ip.link("set", index=self._ports[host], state="up" if in_ else "down"))

    def shape(self, host: int, rate_mbit: float) -> None:
        """Give a host's link another rate, in both directions; it must have had one."""
        self._do(lambda: _shape(self._ip, self._ports[host], rate_mbit, "change"))
        self._do(lambda: self._inside(host, lambda ip, link: _shape(ip, link, rate_mbit, "change")))

    def sent(self, host: int) -> int:
        """Return the bytes that a host has sent, as the other end of its cable counts them."""
        [link] = self._do(lambda: self._ip.get_links(self._ports[host]))
        return int(link.get_attr("IFLA_STATS64")["rx_bytes"])

    def delays(self) -> bool:
        """Whether this kernel could delay what is sent (netem); for unshaped links."""
        with contextlib.suppress(OSError):
            self._do(lambda: _delay(self._ip, self._ports[0]))
            return True
        return False

    def close(self) -> None:
        """Leave the namespaces to the kernel."""
        if hasattr(self, "_ip"):
            self._do(lambda: self._ip.close())
        self._thread.shutdown()
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()

    def _do(self, what: Callable[[], Any]) -> Any:
        return self._thread.submit(what).result()

    def _build(self, hosts: int, rate_mbit: float | None) -> None:
        for _ in range(hosts):
            kernel.call("unshare", kernel.CLONE_NEWNET)
            self._descriptors.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY))
        kernel.call("unshare", kernel.CLONE_NEWNET)  # the switch, in which this thread stays
        from pyroute2 import IPRoute  # imported here: it takes a third of a second

        self._ip = IPRoute()
        with _needing("bridges"):
            self._ip.link("add", ifname=_BRIDGE, kind="bridge")
        [bridge] = self._ip.link_lookup(ifname=_BRIDGE)
        self._ip.link("set", index=bridge, state="up")
        for host in range(hosts):
            self._connect(host, bridge, rate_mbit)

    def _connect(self, host: int, bridge: int, rate_mbit: float | None) -> None:
        name = f"port{host}"
        peer = {"ifname": INTERFACE, "net_ns_fd": self._descriptors[host]}
        with _needing("pairs of virtual interfaces (veth)"):
            self._ip.link("add", ifname=name, kind="veth", peer=peer)
        [port] = self._ip.link_lookup(ifname=name)
        self._ports.append(port)
        self._ip.link("set", index=port, master=bridge, state="up")
        if rate_mbit is not None:
            _shape(self._ip, port, rate_mbit, "add")
        self._inside(host, lambda ip, link: _set_up(ip, link, host, rate_mbit))

    def _inside(self, host: int, what: Callable[[Any, int], None]) -> None:
        """Do something in a host's namespace, with what talks to the kernel there and the interface's index."""
        from pyroute2 import IPRoute

        with _entered(self._descriptors[host]), IPRoute() as ip:
            what(ip, ip.link_lookup(ifname=INTERFACE)[0])


def address(host: int) -> str:
    """Return a host's address."""
    return f"{NETWORK}{host + 1}"


def _set_up(ip: Any, link: int, host: int, rate_mbit: float | None) -> None:
    [loopback] = ip.link_lookup(ifname="lo")
    ip.link("set", index=loopback, state="up")
    _settle_protocols()
    ip.addr("add", index=link, address=address(host), prefixlen=24)
    ip.link("set", index=link, state="up")
    if rate_mbit is not None:
        _shape(ip, link, rate_mbit, "add")


def _settle_protocols() -> None:
    """Have this thread's namespace send what clusters send: no IPv6, which talks unasked, and TCP by loss.

    Namespaces may take cubic where the machine allows it to all users, and reno, which has the same remedy, anywhere.
    """
    if _DISABLE_IPV6.exists():
        _DISABLE_IPV6.write_text("1")
    try:
        _CONGESTION.write_text("cubic")
    except OSError:
        _CONGESTION.write_text("reno")


def _shape(ip: Any, link: int, rate_mbit: float, how: str) -> None:
    """Have a token bucket send no more than so many Mbit/s (tc-tbf(8)); what waits longer than its queue is dropped."""
    rate = round(rate_mbit * 1e6 / 8)
    burst = max(_LEAST_BURST, round(rate * _BURST_SECONDS))
    limit = burst + round(rate * _QUEUE_SECONDS)
    with _needing("token buckets (sch_tbf)"):
        ip.tc(how, "tbf", link, _HANDLE, rate=rate, burst=burst, limit=limit)


def _delay(ip: Any, link: int) -> None:
    with _needing("delays (netem)"):
        ip.tc("add", "netem", link, _HANDLE, delay=1000)


@contextlib.contextmanager
def _needing(what: str) -> Iterator[None]:
    """Say what the kernel lacks where it refuses; OSError, as of any other call to it."""
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        yield
    except NetlinkError as error:
        raise OSError(error.code, f"the kernel makes no {what}: {os.strerror(error.code)}") from None


@contextlib.contextmanager
def _entered(namespace: int) -> Iterator[None]:
    """Have this thread be in another network namespace for a while."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        kernel.call("setns", namespace, kernel.CLONE_NEWNET)
        yield
        kernel.call("setns", before, kernel.CLONE_NEWNET)
    finally:
        os.close(before)
