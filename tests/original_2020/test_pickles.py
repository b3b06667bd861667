"""Every value here is pickled by numpy or by Python itself and must come back as Python's own unpickler gives it."""

import builtins
import contextlib
import os
import pickle
import pickletools
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies

from snn_action.core.errors import ConfigError, WorkError
from snn_action.original_2020.pickles import _load, read_array, read_names, write_pickle, write_pickles

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
QUICK = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


def save(tmp_path, content):
    path = tmp_path / "data.pickle"
    path.write_bytes(content)
    return path


def refusal(tmp_path, content):
    path = save(tmp_path, content)
    for read in (read_names, read_array):
        with pytest.raises(ConfigError) as caught:
            read(path)
        assert str(path) in str(caught.value)
    return str(caught.value)


# What is read


@QUICK
@given(
    array=numpy_strategies.arrays(
        st.sampled_from(["<f8", ">f8", "<f4", "<f2", "<i8", ">i4", "i1", "u1", "<u2", "?", "<U3", ">U2"]),
        numpy_strategies.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    ),
    protocol=st.sampled_from(PROTOCOLS),
    order=st.sampled_from("CF"),
)
def test_arrays_of_every_protocol(tmp_path_factory, array, protocol, order):
    path = tmp_path_factory.getbasetemp() / "array.pickle"
    path.write_bytes(content := pickle.dumps(np.array(array, order=order), protocol))
    read, _ = _load(path)
    assert read.dtype == pickle.loads(content).dtype
    np.testing.assert_array_equal(read, array)


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.lists(inner, max_size=3).map(tuple),
    max_leaves=12,
)


@QUICK
@given(value=plain, protocol=st.sampled_from(PROTOCOLS), optimized=st.booleans())
def test_plain_values_of_every_protocol(tmp_path_factory, value, protocol, optimized):
    path = tmp_path_factory.getbasetemp() / "plain.pickle"
    content = pickle.dumps(value, protocol)
    path.write_bytes(pickletools.optimize(content) if optimized else content)
    assert _load(path)[0] == value


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_a_pickle_names_twice(tmp_path, protocol):
    """Types and arrays get their content after they were remembered: each mention must be of the whole."""
    row, text = np.arange(3, dtype=">f4"), np.array(["a", "bc"])
    value = [row, row, np.arange(2, dtype=">f4"), np.float32(2.5), (text, text, np.str_("d"))]
    for content in (pickle.dumps(value, protocol), pickletools.optimize(pickle.dumps(value, protocol))):
        read, _ = _load(save(tmp_path, content))
        for found, wanted in zip([*read[:4], *read[4]], [*value[:4], *value[4]], strict=True):
            np.testing.assert_array_equal(found, wanted)


# The features of one video, np.arange(6.0).reshape(1, 2, 3), as numpy 1.17 on Python 3.7 pickles it by default.
NUMPY_1_17 = (
    b"\x80\x03cnumpy.core.multiarray\n_reconstruct\nq\x00cnumpy\nndarray\nq\x01K\x00\x85q\x02C\x01bq\x03\x87q\x04Rq\x05"
    b"(K\x01K\x01K\x02K\x03\x87q\x06cnumpy\ndtype\nq\x07X\x02\x00\x00\x00f8q\x08K\x00K\x01\x87q\tRq\n"
    b"(K\x03X\x01\x00\x00\x00<q\x0bNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x0cb\x89C0"
    + np.arange(6.0).tobytes()
    + b"q\rtq\x0eb."
)


def test_the_bytes_of_numpy_1_17(tmp_path):
    np.testing.assert_array_equal(read_array(save(tmp_path, NUMPY_1_17)), np.arange(6.0).reshape(1, 2, 3))


@pytest.mark.parametrize("length", [0, 1, 2, 9, 511, 512, 5000, 70000])
def test_lists_of_floats_of_any_length(tmp_path, length):
    values = [0.5 * index for index in range(length)]
    for content in ([values, values], [values, [1] * length, ["x"]], (*values, None, *values)):
        assert _load(save(tmp_path, pickle.dumps(content)))[0] == content


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_lists_and_lists_of_arrays_give_one_array(tmp_path, protocol):
    array = np.random.default_rng(0).normal(size=(3, 4, 5))
    labels = np.tile(np.arange(3)[:, None, None], (1, 4, 1))
    for content in (array, array.tolist(), list(array), [list(video) for video in array], tuple(array)):
        np.testing.assert_array_equal(read_array(save(tmp_path, pickle.dumps(content, protocol))), array)
    for content in (labels, labels.tolist(), [[[label]] * 4 for label in range(3)], list(labels)):
        read = read_array(save(tmp_path, pickle.dumps(content, protocol)))
        assert read.dtype.kind == "i"
        np.testing.assert_array_equal(read, labels)


def test_names(tmp_path):
    names = ["Walk", "Run", "Jump"]
    for content in (names, tuple(names), np.array(names)):
        assert read_names(save(tmp_path, pickle.dumps(content))) == tuple(names)
    python2 = b"(lp0\nS'Walk'\np1\naS'Run'\np2\naS'Jump'\np3\na."
    assert read_names(save(tmp_path, python2)) == tuple(names)


@pytest.mark.parametrize("content", [[], ["a", 1], "ab", np.zeros(3), {"a": 1}, [["a"]], np.array([["a"]])])
def test_names_that_are_none(tmp_path, content):
    with pytest.raises(ConfigError, match=r"data\.pickle: .*(list of names is wanted, not|EMPTY_DICT)"):
        read_names(save(tmp_path, pickle.dumps(content)))


@pytest.mark.parametrize(
    "content",
    [
        "text",
        None,
        3.0,
        {"a": [1.0]},
        [1.0, "a"],
        [None],
        np.array(["a"]),
        [np.array(["a"])],
        [np.array([b"a"])],
        [{"a": 1.0}],
        [[1.0, 2.0], [1.0]],
        [np.zeros(2), np.zeros(3)],
        [10**400],
    ],
)
def test_what_makes_no_array_of_numbers(tmp_path, content):
    with pytest.raises(ConfigError, match=r"data\.pickle"):
        read_array(save(tmp_path, pickle.dumps(content)))


# What is refused


class Calls:
    def __init__(self, function, *arguments):
        self.reduced = (function, arguments)

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (os.system, ("touch pwned",), f"{os.name}.system"),
        (builtins.eval, ("1",), "eval"),
        (getattr, ("", "join"), "getattr"),
        (np.load, ("x.npy",), "numpy.load"),
        (np.fromfile, ("x.npy",), "numpy.fromfile"),
        (np.testing.assert_equal, (1, 1), "numpy.testing"),
        (np.float64, (1,), "float64"),
        (object, (), "object"),
    ],
)
def test_other_names_are_refused_by_name_and_not_called(tmp_path, monkeypatch, protocol, function, arguments, name):
    monkeypatch.chdir(tmp_path)
    for value in (Calls(function, *arguments), [1.0, ("deep", [Calls(function, *arguments)])], function):
        message = refusal(tmp_path, pickle.dumps(value, protocol))
        assert name in message
        assert "refused" in message
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"cos\nsystem\n(S'touch pwned'\ntR.", "os.system"),
        (b"(S'touch pwned'\nios\nsystem\n.", "INST"),
        (b"(inumpy\nndarray\n.", "INST"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.", "os.system"),
        (b"\x80\x04\x8c\x05numpy\x8c\x12ndarray.__reduce__\x93.", "numpy.ndarray.__reduce__"),
        (b"cnumpy\nndarray\n)\x81.", "NEWOBJ"),
        (b"cnumpy\nndarray\n)N\x92.", "NEWOBJ_EX"),
        (b"(cnumpy\nndarray\no.", "OBJ"),
        (b"\x82\x01.", "EXT1"),
        (b"\x83\x01\x00.", "EXT2"),
        (b"\x84\x01\x00\x00\x00.", "EXT4"),
        (b"Psomewhere\n.", "PERSID"),
        (b"K\x01Q.", "BINPERSID"),
        (b"\x97.", "NEXT_BUFFER"),
        (b"cnumpy\ndtype\n.", "not function"),
        (b"cnumpy\nndarray\n.", "not NoneType"),
        (b"cnumpy\nndarray\n)R.", "broken"),
        (b"K\x01)R.", "broken"),
        (b"c__builtin__\nbytes\nK\x01R.", "broken"),
        (b"]K\x01b.", "state"),
        (b"cnumpy\ndtype\n}b.", "EMPTY_DICT"),
        (b"cnumpy\ndtype\nNN\x86b.", "state"),
        (b"cnumpy\ndtype\nU\x02f8\x85RNN\x86b.", "structured"),
        (b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R.", "encoding"),
    ],
)
def test_crafted_instructions(tmp_path, monkeypatch, content, word):
    monkeypatch.chdir(tmp_path)
    assert word in refusal(tmp_path, content)
    assert not (tmp_path / "pwned").exists()


def craft_array(shape, dtype, content, code=b"f8", order=b"<"):
    """The pickle of an array with parts of one's choice; each part is instructions."""
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01"
        + shape
        + (dtype or b"cnumpy\ndtype\nU" + bytes([len(code)]) + code + b"K\x00K\x01\x87R(K\x03U\x01" + order)
        + (b"" if dtype else b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb")
        + b"\x89"
        + content
        + b"tb."
    )


def test_a_crafted_array_that_is_right_is_read(tmp_path):
    content = craft_array(b"K\x01\x85", None, b"C\x08" + struct.pack("<d", 2.5))
    assert read_array(save(tmp_path, content)).tolist() == [2.5]


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (craft_array(b"K\x02\x85", None, b"C\x08" + bytes(8)), "16 bytes, but 8"),
        (craft_array(b"J\xff\xff\xff\xff\x85", None, b"C\x08" + bytes(8)), "shape"),
        (craft_array(b"\x8a\x09" + b"\xff" * 8 + b"\x00\x85", None, b"C\x00"), "but 0 bytes"),
        (craft_array(b"\x8a\x08" + b"\xff" * 7 + b"\x7f\x85", None, b"C\x00", code=b"U0"), "type 'U0'"),
        (craft_array(b"]", None, b"C\x08" + bytes(8)), "shape"),
        (craft_array(b"K\x01\x85", None, b"]"), "not bytes"),
        (craft_array(b"K\x01\x85", b"N", b"C\x08" + bytes(8)), "not bytes"),
        (craft_array(b"K\x01\x85", None, b"C\x08" + bytes(8), code=b"O8"), "Python objects"),
        (craft_array(b"K\x01\x85", None, b"C\x08" + bytes(8), code=b"V8"), "type 'V8'"),
        (craft_array(b"K\x01\x85", None, b"C\x08" + bytes(8), code=b"f8,O"), "type 'f8,O'"),
        (craft_array(b"K\x01\x85", None, b"C\x08" + bytes(8), code=b"M8"), "type 'M8'"),
        (craft_array(b"K\x01\x85", None, b"C\x08" + bytes(8), order=b"!"), "structured"),
        (craft_array(b"K\x01\x85", None, b"C\x08a\0\0\0\xff\xff\xff\xff", code=b"U2"), "utf-32"),
        (craft_array(b"K\x01\x85", None, b"C\x08\0\0\0a\0\x11\0\0", code=b"U2", order=b">"), "utf-32"),
    ],
)
def test_forged_arrays(tmp_path, content, word):
    assert word in refusal(tmp_path, content)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_of_objects_and_structured_arrays_are_refused(tmp_path, protocol):
    objects = np.empty(2, object)
    objects[:] = [Calls(os.getcwd), 1.0]
    assert "objects" in refusal(tmp_path, pickle.dumps(objects, protocol))
    structured = np.zeros(2, [("a", "<f8"), ("b", "O")])
    assert "array of" in refusal(tmp_path, pickle.dumps(structured, protocol))


def shared(depth, leaf=b"]"):
    """``depth`` lists, each holding the one before ten times: 10 ** depth values in some hundred bytes."""
    inner = leaf + b"q\x00"
    for level in range(1, depth + 1):
        inner += b"0](" + b"h" + bytes([level - 1]) + (b"h" + bytes([level - 1])) * 9 + b"eq" + bytes([level])
    return inner + b"."


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (shared(20), "repeating itself"),
        (shared(20, b"G" + bytes(8)), "repeating itself"),
        (b"](" * 200 + b"e" * 200 + b".", "nested"),
        (b"](" * 100_000 + b"e" * 100_000 + b".", "nested"),
        (b"]q\x00h\x00a.", "contains itself"),
        (b"r\xff\xff\xff\x7f.", "broken"),
        (b"\x8e" + b"\xff" * 7 + b"\x7f.", "cut off"),
        (b"\x96" + b"\xff" * 7 + b"\x7f.", "cut off"),
        (b"\x95" + b"\xff" * 8 + b".", "cut off"),
        (b"\x8b\xff\xff\xff\xff.", "cut off"),
        (b"\x8b\x00\x00\x00\x80.", "cut off"),
        (b"}" + b"))\x86q\x00" + b"0h\x00h\x00\x86q\x00" * 60 + b"K\x01s.", "EMPTY_DICT"),
        (b"(" + b"))\x86q\x00" + b"0h\x00h\x00\x86q\x00" * 60 + b"\x91.", "FROZENSET"),
        (b"I" + b"9" * 100_000 + b"\n.", "broken"),
        (b"(cnumpy\ndtype\n" + b"(h\x00" + b".", "broken"),
        (b"\x80\x09N.", "protocol"),
        (b"N", "cut off"),
        (b".", "cut off"),
        (b"t.", "cut off"),
        (b"\x00", "no pickle"),
        (b"\xff\xd8\xff\xe0 a picture", "no pickle"),
    ],
)
def test_bombs_and_broken_files(tmp_path, content, word):
    assert word in refusal(tmp_path, content)


def test_a_large_memo_index_is_only_a_name(tmp_path):
    assert read_array(save(tmp_path, b"]r\xff\xff\xff\xff0j\xff\xff\xff\xff.")).size == 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_file_that_is_cut_off_anywhere(tmp_path, protocol):
    content = pickle.dumps([np.arange(6.0).reshape(2, 3), (1, [1.5, 2.5]), "text"], protocol)
    for end in range(1, len(content)):
        refusal(tmp_path, content[:end])


def test_missing_empty_and_unreadable(tmp_path):
    assert "0 bytes" in refusal(tmp_path, b"")
    with pytest.raises(ConfigError, match=r"nowhere\.pickle: cannot be read"):
        read_array(tmp_path / "nowhere.pickle")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_array(tmp_path)


def read_or_refuse(path, content):
    path.write_bytes(content)
    for read in (read_array, read_names):
        with contextlib.suppress(ConfigError):
            read(path)


OPCODES = bytes(sorted({ord(opcode.code) for opcode in pickletools.opcodes}))


@settings(QUICK, max_examples=400)
@given(content=st.binary(min_size=1, max_size=60) | st.lists(st.sampled_from(OPCODES), min_size=1).map(bytes))
def test_any_bytes_give_a_value_or_a_refusal(tmp_path_factory, content):
    read_or_refuse(tmp_path_factory.getbasetemp() / "fuzz.pickle", content)


@settings(QUICK, max_examples=400)
@given(
    data=st.data(),
    base=st.sampled_from([NUMPY_1_17, *(pickle.dumps([np.arange(3), ("a", [1.0] * 5)], p) for p in PROTOCOLS)]),
)
def test_damaged_pickles_give_a_value_or_a_refusal(tmp_path_factory, data, base):
    content = bytearray(base)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    read_or_refuse(tmp_path_factory.getbasetemp() / "damaged.pickle", bytes(content))


# What is written


@pytest.mark.parametrize("dtype", ["<f8", ">f8", "<f4", "<f2", "<i8", "u1", "?"])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3, 4), (300,)])
def test_written_arrays_are_read_by_numpy_and_by_us(tmp_path, dtype, shape):
    array = np.random.default_rng(1).integers(0, 2, shape).astype(dtype)
    path = tmp_path / "deep" / "array.pickle"
    write_pickle(path, array)
    content = path.read_bytes()
    assert b"numpy.core.multiarray" in content  # the name that numpy 1.17 knows
    assert b"numpy._core" not in content
    for read in (read_array(path), pickle.loads(content)):
        assert (read.dtype.newbyteorder("="), read.shape) == (np.dtype(dtype).newbyteorder("="), shape)
        np.testing.assert_array_equal(read, array)
    assert max(opcode.proto for opcode, _, _ in pickletools.genops(content)) <= 4
    assert [file.name for file in path.parent.iterdir()] == ["array.pickle"]


def test_one_side_of_a_split_is_written_in_the_originals_form(tmp_path):
    features = np.random.default_rng(2).normal(size=(3, 28, 5)).astype(np.float32)
    write_pickles(tmp_path / "data", tmp_path / "labels", features, np.array([2, 0, 1]))
    data, labels = (pickle.loads((tmp_path / name).read_bytes()) for name in ("data", "labels"))
    assert (data.dtype, labels.dtype, labels.shape) == (np.float64, np.int64, (3, 28, 1))
    np.testing.assert_array_equal(data, features)
    assert labels[:, :, 0].tolist() == [[2] * 28, [0] * 28, [1] * 28]


def test_what_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WorkError, match="cannot be written"):
        write_pickle(tmp_path / "file" / "array.pickle", np.zeros(2))
    with pytest.raises(ValueError, match="numbers"):
        write_pickle(tmp_path / "text.pickle", np.array(["a"]))
    with pytest.raises(ValueError, match="classes"):
        write_pickles(tmp_path / "a", tmp_path / "b", np.zeros((3, 2, 1)), np.zeros(2, int))
