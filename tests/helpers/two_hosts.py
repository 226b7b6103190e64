"""Two hosts on one machine: network namespaces with host names of their own, joined by a virtual cable."""

import os
import shutil
import subprocess

ADDRESSES = ("10.213.7.1", "10.213.7.2")
# mpirun starts its part on the other host through this, as it would through ssh: AGENT ADDRESS WORDS... in an
# environment of that host's own.
AGENT = """#!/bin/sh
shift
exec {} env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin sh -c "hostname {}; $*"
"""


class Unavailable(Exception):
    """What this machine lacks for two hosts."""


class TwoHosts:
    """Makes the hosts, and takes them away again on leaving the `with` block.

    Raises:
        Unavailable: on entering it, where the machine does not allow namespaces.
    """

    def __init__(self, folder):
        self.names = tuple("vnet{}{}".format(os.getpid(), letter) for letter in "ab")
        self.agent = os.path.join(str(folder), "agent.sh")
        with open(self.agent, "w") as file:
            file.write(AGENT.format(" ".join(_inside(self.names[1])), self.names[1]))
        os.chmod(self.agent, 0o755)

    def __enter__(self):
        for program in ("ip", "unshare", "hostname"):
            if shutil.which(program) is None:
                raise Unavailable("there is no program {}".format(program))
        try:
            self._make()
        except Unavailable:
            self._remove()
            raise
        return self

    def __exit__(self, *_):
        self._remove()

    def _make(self):
        first, second = self.names
        for name in self.names:
            _call("ip", "netns", "add", name)
        _call("ip", "link", "add", "cable", "netns", first, "type", "veth", "peer", "name", "cable", "netns", second)
        for name, address in zip(self.names, ADDRESSES):
            _call("ip", "-n", name, "addr", "add", address + "/24", "dev", "cable")
            for interface in ("lo", "cable"):
                _call("ip", "-n", name, "link", "set", interface, "up")
        _call(*_inside(first) + ["true"])

    def _remove(self):
        for name in self.names:
            subprocess.run(["ip", "netns", "delete", name], stderr=subprocess.DEVNULL)

    def on_first(self, command):
        """The command line that runs ``command`` (list of str) on the first host."""
        return _inside(self.names[0]) + ["sh", "-c", 'hostname {} && exec "$@"'.format(self.names[0]), "sh"] + command

    def environment(self):
        """The environment in which mpirun reaches the second host from the first."""
        return dict(os.environ, OMPI_MCA_plm_rsh_agent=self.agent)

    def bytes_over_the_cable(self):
        """Bytes that the first host has had from the second."""
        path = "/sys/class/net/cable/statistics/rx_bytes"
        return int(subprocess.check_output(_inside(self.names[0]) + ["cat", path]))


def _inside(name):
    return ["ip", "netns", "exec", name, "unshare", "--uts"]


def _call(*command):
    process = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    if process.returncode:
        raise Unavailable("{}: {}".format(" ".join(command), process.stdout.strip()))
