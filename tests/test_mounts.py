"""Covers mailframe.mounts."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.mounts import Mount, mount_at, mounts_below, parse_mounts

SAMPLE = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
24 27 0:6 / /dev rw,relatime - devtmpfs devtmpfs rw,size=12334524k,mode=755
27 1 254:0 / / rw,relatime shared:1 master:7 - ext4 /dev/vda rw,discard
30 24 0:27 / /dev/shm rw,nosuid - tmpfs tmpfs rw,size=24684096k
40 27 8:1 /sub /mnt/a\040disk\134 rw,noatime - xfs /dev/sda\0401 rw,attr2
"""
NAMES = st.text(st.characters(exclude_characters="/", exclude_categories=("Cs",)), min_size=1)


def line(number: int, parent: int, point: str, kind: str = "ext4", options: str = "rw") -> str:
    """A line as the kernel writes it."""
    for octet in "\\ \t\n":
        point = point.replace(octet, f"\\{ord(octet):03o}")
    return f"{number} {parent} 8:1 / {point} rw - {kind} /dev/sda {options}"


class ParseTests(SynchronousTestCase):
    """What the kernel writes."""

    def test_sample(self) -> None:
        """A server starts where mail is lost, or does not start where it is kept."""
        mounts = parse_mounts(SAMPLE)
        self.assertEqual([m.kind for m in mounts], ["proc", "devtmpfs", "ext4", "tmpfs", "xfs"])
        self.assertEqual(mounts[4].point, "/mnt/a disk\\")
        self.assertEqual(mounts[4].source, "/dev/sda 1")
        self.assertEqual(mounts[4].options, {"rw", "noatime", "attr2"})
        self.assertEqual((mounts[2].id, mounts[2].parent), (27, 1))
        self.assertIn("discard", mounts[2].options)

    def test_nonsense(self) -> None:
        """A line that nobody foresaw keeps the server from starting."""
        for text in ("", "\n\n", "x", "1 2 3 / /a rw", "1 x 8:1 / /a rw - ext4 a rw"):
            self.assertEqual(parse_mounts(text), ())
        self.assertEqual(parse_mounts("1 2 0:1 / nowhere rw - ext4 a rw"), ())
        self.assertEqual(parse_mounts("1 2 0:1 / /a rw - ext4"), ())

    @given(st.text())
    @settings(deadline=None, max_examples=100)
    def test_any_text(self, text: str) -> None:
        """The same, for whatever may come."""
        for mount in parse_mounts(text + "\n" + SAMPLE.replace(" - ", text, 1)):
            self.assertTrue(mount.point.startswith("/"))

    @given(st.lists(NAMES, max_size=3))
    @settings(deadline=None, max_examples=100)
    def test_any_point(self, names: list[str]) -> None:
        """A folder with an odd name is looked for elsewhere."""
        point = "/" + "/".join(names)
        (mount,) = parse_mounts(line(1, 0, point))
        self.assertEqual(mount.point, point)


class PlaceTests(SynchronousTestCase):
    """Where a path leads to."""

    def kind(self, mounts: tuple[Mount, ...], path: str) -> str:
        mount = mount_at(mounts, path)
        assert mount is not None
        return mount.kind

    def test_sample(self) -> None:
        """The wrong file system is judged."""
        mounts = parse_mounts(SAMPLE)
        for path, kind in (
            ("/", "ext4"),
            ("/var/mail", "ext4"),
            ("/dev", "devtmpfs"),
            ("/dev/shm", "tmpfs"),
            ("/dev/shm/a/b", "tmpfs"),
            ("/dev/shmall", "devtmpfs"),
            ("/mnt/a disk\\/queue", "xfs"),
        ):
            self.assertEqual(self.kind(mounts, path), kind, path)
        below = mounts_below(mounts, "/dev")
        self.assertEqual([m.point for m in below], ["/dev/shm"])
        self.assertEqual(len(mounts_below(mounts, "/")), 4)

    def test_hidden(self) -> None:
        """A disk that another is mounted over is taken for the one that is written to."""
        text = "\n".join(
            (
                line(1, 0, "/"),
                line(2, 1, "/a/b", "xfs"),
                line(3, 1, "/a", "tmpfs"),
                line(4, 3, "/a", "btrfs"),
                line(5, 4, "/a/b/c", "f2fs"),
            )
        )
        mounts = parse_mounts(text)
        self.assertEqual(self.kind(mounts, "/a/b"), "btrfs")
        self.assertEqual(self.kind(mounts, "/a/b/c/d"), "f2fs")
        self.assertEqual(self.kind(mounts, "/ab"), "ext4")

    def test_nothing_known(self) -> None:
        """Where the kernel tells nothing, the server does not start."""
        self.assertIsNone(mount_at((), "/a"))
        self.assertIsNone(mount_at(parse_mounts(line(1, 1, "/a")), "/a"))

    @given(
        st.lists(st.lists(st.sampled_from("ab"), max_size=3), max_size=6),
        st.lists(st.sampled_from("ab"), max_size=4),
        st.randoms(use_true_random=False),
    )
    @settings(deadline=None, max_examples=200)
    def test_as_the_kernel_walks(
        self, points: list[list[str]], path: list[str], random: object
    ) -> None:
        """Mounts upon mounts: a path leads to another file system than is judged."""
        on: dict[tuple[int, tuple[str, ...]], int] = {}

        def walk(names: list[str]) -> int:
            here = 1
            for end in range(len(names) + 1):
                while (here, tuple(names[:end])) in on:
                    here = on[here, tuple(names[:end])]
            return here

        lines = [line(1, 0, "/")]
        for number, names in enumerate(points, 2):
            parent = walk(names)
            on[parent, tuple(names)] = number
            lines.append(line(number, parent, "/" + "/".join(names)))
        random.shuffle(lines)  # type: ignore[attr-defined]  # the kernel's order says nothing
        found = mount_at(parse_mounts("\n".join(lines)), "/" + "/".join(path))
        assert found is not None
        self.assertEqual(found.id, walk(path))
