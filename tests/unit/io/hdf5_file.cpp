#include "tangram/io/hdf5_file.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <limits>

#include "support/expect_error.hpp"

namespace tangram {
namespace {

using testing::expect_error;

class Hdf5FileTest : public ::testing::Test {
  protected:
    void SetUp() override {
        std::string name = (std::filesystem::temp_directory_path() / "tangram-hdf5-XXXXXX").string();
        ASSERT_NE(mkdtemp(name.data()), nullptr);
        folder_ = name;
    }
    void TearDown() override { std::filesystem::remove_all(folder_); }

    static bool has_h5py() {
        static const bool found = std::system("/usr/bin/python3 -c 'import h5py' >/dev/null 2>&1") == 0;
        return found;
    }
    /// The program sees the file as f and checks by assert.
    bool python(const std::string& mode, const std::string& text) const {
        std::ofstream(folder_ / "check.py")
            << "import sys, h5py, numpy as np\nf = h5py.File(sys.argv[1], '" << mode << "')\n"
            << text;
        return std::system(
                   ("/usr/bin/python3 " + (folder_ / "check.py").string() + " " + file().string()).c_str()) ==
               0;
    }
    std::filesystem::path file() const { return folder_ / "f.h5"; }

    std::filesystem::path folder_;
};

void write_everything(const std::filesystem::path& file) {
    Hdf5File h5 = Hdf5File::create(file);
    h5.set_attribute("/", "schema_version", Index{3});
    h5.set_attribute("/a/b", "number", 0.1);
    h5.set_attribute("/a/b", "infinite", std::numeric_limits<double>::infinity());
    h5.set_attribute("/a/b", "long", Index{1} << 60);
    h5.set_attribute("/a/b", "text", std::string("naïve\n\"quoted\""));
    h5.set_attribute("/a/b", "empty", std::string());
    h5.set_attribute("/a/b", "numbers",
                     std::vector<double>(20000, 0.5));  // 160 kB: one per rank of a large run
    h5.set_attribute("/a/b", "integers", std::vector<Index>{2, 3});
    h5.set_attribute("/a/b", "texts", std::vector<std::string>{"head", "", "Straße"});
    h5.set_attribute("/a/b", "none", std::vector<std::string>{});
    h5.set_attribute("/a/b", "twice", 1.0);
    h5.set_attribute("/a/b", "twice", std::string("replaced"));
    h5.write("/v/doubles", std::vector<double>{1, 2, 3, 4, 5, 6}, {2, 3});
    h5.write("/v/int32", std::vector<std::int32_t>{-1, 7});
    h5.write("/v/int64", std::vector<Index>{Index{1} << 40});
    h5.write("/v/texts", std::vector<std::string>{"ä", "bc"});
    h5.write("/v/empty", std::vector<double>{});
    h5.write("/v/x", std::vector<double>{0, 1, 2});
    h5.name_axes("/v/doubles", {"repeat", "x"});
    h5.attach_scale("/v/doubles", 1, "/v/x");
    h5.write_table("/rowless", {{.name = "text", .empty_of_texts = true}, {"number"}});
    h5.write_table(
        "/t",
        {{"name", {}, {}, {"first", "zweites"}}, {"size", {}, {3, 4}, {}}, {"share", {0.25, 0.75}, {}, {}}});
    h5.close();
}

TEST_F(Hdf5FileTest, ReadsWhatItWrote) {
    write_everything(file());
    const Hdf5File h5 = Hdf5File::open(file(), false, ExitStatus::output);
    EXPECT_EQ(h5.integer_attribute("/", "schema_version"), 3);
    EXPECT_EQ(h5.number_attribute("/", "schema_version"), 3.0);
    EXPECT_EQ(h5.number_attribute("/a/b", "number"), 0.1);
    EXPECT_EQ(h5.integer_attribute("/a/b", "long"), Index{1} << 60);
    EXPECT_EQ(h5.text_attribute("/a/b", "text"), "naïve\n\"quoted\"");
    EXPECT_EQ(h5.text_attribute("/a/b", "empty"), "");
    EXPECT_EQ(h5.text_attribute("/a/b", "twice"), "replaced");
    EXPECT_EQ(h5.numbers_attribute("/a/b", "numbers"), std::vector<double>(20000, 0.5));
    EXPECT_EQ(h5.integers_attribute("/a/b", "integers"), (std::vector<Index>{2, 3}));
    EXPECT_EQ(h5.texts_attribute("/a/b", "texts"), (std::vector<std::string>{"head", "", "Straße"}));
    EXPECT_TRUE(h5.texts_attribute("/a/b", "none").empty());
    EXPECT_EQ(h5.shape("/v/doubles"), (std::vector<Index>{2, 3}));
    EXPECT_EQ(h5.read_doubles("/v/doubles", 6), (std::vector<double>{1, 2, 3, 4, 5, 6}));
    EXPECT_EQ(h5.read_doubles("/v/int32"), (std::vector<double>{-1, 7}));
    EXPECT_EQ(h5.read_int32("/v/int32"), (std::vector<std::int32_t>{-1, 7}));
    EXPECT_EQ(h5.read_int64("/v/int64"), std::vector<Index>{Index{1} << 40});
    EXPECT_EQ(h5.read_texts("/v/texts", 2), (std::vector<std::string>{"ä", "bc"}));
    EXPECT_TRUE(h5.read_doubles("/v/empty", 0).empty());
    const auto table = h5.read_table("/t");
    ASSERT_EQ(table.size(), 3u);
    EXPECT_EQ(table[0].name, "name");
    EXPECT_EQ(table[0].texts, (std::vector<std::string>{"first", "zweites"}));
    EXPECT_EQ(table[1].integers, (std::vector<Index>{3, 4}));
    EXPECT_EQ(table[2].numbers, (std::vector<double>{0.25, 0.75}));
    EXPECT_EQ(h5.children("/"), (std::vector<std::string>{"a", "rowless", "t", "v"}));
    EXPECT_TRUE(h5.attributes("/v/x").empty() && h5.attributes("/v/doubles").empty());
    EXPECT_TRUE(h5.exists("/v/texts") && h5.exists("/a") && h5.exists("/"));
    EXPECT_FALSE(h5.exists("/v/other") || h5.exists("/other/v") || h5.exists("/t/name"));
    EXPECT_TRUE(h5.is_group("/a/b") && h5.is_group("/"));
    EXPECT_FALSE(h5.is_group("/t") || h5.is_group("/none"));
    EXPECT_TRUE(h5.has_attribute("/a/b", "none"));
    EXPECT_FALSE(h5.has_attribute("/a/b", "other") || h5.has_attribute("/other", "none"));
}

TEST_F(Hdf5FileTest, LargeDataSetsStandInAlikePieces) {
    // Two pieces of half a million rows and one: what fills up the last is a row, and not all that 64 MiB
    // hold.
    const Index rows = 1'050'001, bytes = 8 * 8 * rows;
    std::vector<double> values(static_cast<std::size_t>(8 * rows));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(i);
    Hdf5File file = Hdf5File::create(folder_ / "f.h5");
    file.write("/large", values, {rows, 8});
    file.close();
    EXPECT_LT(std::filesystem::file_size(folder_ / "f.h5"), static_cast<std::uintmax_t>(bytes + 10'000));
    const Hdf5File again = Hdf5File::open(folder_ / "f.h5", false, ExitStatus::input);
    EXPECT_TRUE(again.has_fletcher32("/large"));
    EXPECT_EQ(again.read_doubles("/large"), values);
}

TEST_F(Hdf5FileTest, H5pySeesTypesThatAUserExpects) {
    if (!has_h5py()) GTEST_SKIP() << "/usr/bin/python3 has no h5py";
    write_everything(file());
    EXPECT_TRUE(python("r", R"(
a = f['a/b'].attrs
assert f.attrs['schema_version'] == 3 and isinstance(f.attrs['schema_version'], np.int64)
assert a['number'] == 0.1 and isinstance(a['number'], np.float64) and np.isinf(a['infinite'])
assert a['long'] == 2**60
assert isinstance(a['text'], str) and a['text'] == 'na\u00efve\n"quoted"' and a['empty'] == '' and a['twice'] == 'replaced'
assert a['numbers'].shape == (20000,) and (a['numbers'] == 0.5).all()
assert a['integers'].dtype == np.int64 and list(a['integers']) == [2, 3]
assert list(a['texts']) == ['head', '', 'Stra\u00dfe'] and all(isinstance(x, str) for x in a['texts'])
assert a['none'].shape == (0,)
v = f['v']
assert [d.label for d in v['doubles'].dims] == ['repeat', 'x'] and list(v['doubles'].dims[1].keys()) == ['x'] and len(v['doubles'].dims[0]) == 0
assert v['doubles'].dims[1]['x'][:].tolist() == [0, 1, 2]
assert h5py.check_string_dtype(f["rowless"].dtype['text']) and f["rowless"].dtype['number'] == np.float64 and f["rowless"].shape == (0,)
assert v['doubles'].dtype == np.float64 and v['doubles'][:].tolist() == [[1, 2, 3], [4, 5, 6]]
assert v['int32'].dtype == np.int32 and v['int64'].dtype == np.int64 and v['int64'][0] == 2**40
assert v['texts'].asstr()[:].tolist() == ['\u00e4', 'bc'] and v['empty'].shape == (0,)
t = f['t']
assert t.dtype.names == ('name', 'size', 'share') and t.shape == (2,)
assert [x.decode() for x in t['name']] == ['first', 'zweites'] and h5py.check_string_dtype(t.dtype['name']).encoding == 'utf-8'
assert t['size'].dtype == np.int64 and t['size'].tolist() == [3, 4] and t['share'].tolist() == [0.25, 0.75]
)"));
}

TEST_F(Hdf5FileTest, ReadsWhatH5pyWrites) {
    if (!has_h5py()) GTEST_SKIP() << "/usr/bin/python3 has no h5py";
    ASSERT_TRUE(python("w", R"(
f.attrs['str'] = 'word'
f.attrs['bytes'] = np.bytes_('fixed')
f.attrs['int32'] = np.int32(5)
f.attrs['one'] = np.array([2.5], '>f4')
f.attrs['list'] = ['a', 'b']
f.attrs['two'] = [1, 2]
f['token_ids'] = np.array([1, 2, 3], '>i2')
f['wide'] = np.array([2**40])
f['words'] = np.array([b'ab', b'c'])
t = np.zeros(2, dtype=[('name', 'S5'), ('n', 'i2'), ('x', '>f4')]); t['name'] = [b'first', b'b']; t['n'] = [1, 2]; t['x'] = [0.5, 1.5]
f['table'] = t
)"));
    const Hdf5File h5 = Hdf5File::open(file(), false, ExitStatus::input);
    EXPECT_EQ(h5.text_attribute("/", "str"), "word");
    EXPECT_EQ(h5.text_attribute("/", "bytes"), "fixed");
    EXPECT_EQ(h5.integer_attribute("/", "int32"), 5);
    EXPECT_EQ(h5.number_attribute("/", "one"), 2.5);
    EXPECT_EQ(h5.texts_attribute("/", "list"), (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(h5.read_int32("/token_ids"), (std::vector<std::int32_t>{1, 2, 3}));
    EXPECT_EQ(h5.read_texts("/words"), (std::vector<std::string>{"ab", "c"}));
    const auto table = h5.read_table("/table");
    ASSERT_EQ(table.size(), 3u);
    EXPECT_EQ(table[0].texts, (std::vector<std::string>{"first", "b"}));
    EXPECT_EQ(table[1].integers, (std::vector<Index>{1, 2}));
    EXPECT_EQ(table[2].numbers, (std::vector<double>{0.5, 1.5}));
    expect_error(ExitStatus::input, ErrorKind::contradiction, {file().string(), "/@two", "2"},
                 [&] { h5.number_attribute("/", "two"); });
    expect_error(ExitStatus::input, ErrorKind::malformed, {"/@str"},
                 [&] { h5.number_attribute("/", "str"); });
    expect_error(ExitStatus::input, ErrorKind::malformed, {"/@one"},
                 [&] { h5.integer_attribute("/", "one"); });
    expect_error(ExitStatus::input, ErrorKind::malformed, {"/@int32"},
                 [&] { h5.text_attribute("/", "int32"); });
    expect_error(ExitStatus::input, ErrorKind::missing, {"/@gone"}, [&] { h5.text_attribute("/", "gone"); });
    expect_error(ExitStatus::input, ErrorKind::out_of_range, {"/wide"}, [&] { h5.read_int32("/wide"); });
    expect_error(ExitStatus::input, ErrorKind::malformed, {"/wide"}, [&] { h5.read_table("/wide"); });
    expect_error(ExitStatus::input, ErrorKind::too_few, {"/wide", "99"},
                 [&] { static_cast<void>(h5.length("/wide", 99)); });
    expect_error(ExitStatus::input, ErrorKind::contradiction, {"/wide", "1", "2"},
                 [&] { static_cast<void>(h5.shape("/wide", 2)); });
    expect_error(ExitStatus::input, ErrorKind::malformed, {"/words"}, [&] { h5.read_doubles("/words"); });
}

TEST_F(Hdf5FileTest, RefusalsNameFileAndPath) {
    write_everything(file());
    Hdf5File h5 = Hdf5File::open(file(), true, ExitStatus::output);
    expect_error(ExitStatus::output, ErrorKind::missing, {file().string(), "/v/none"},
                 [&] { h5.read_doubles("/v/none"); });
    expect_error(ExitStatus::output, ErrorKind::malformed, {"/v"}, [&] { h5.read_doubles("/v"); });
    expect_error(ExitStatus::output, ErrorKind::malformed, {"/v/doubles"},
                 [&] { h5.read_int64("/v/doubles"); });
    expect_error(ExitStatus::output, ErrorKind::contradiction, {"/v/doubles", "6", "5"},
                 [&] { h5.read_doubles("/v/doubles", 5); });
    expect_error(ExitStatus::output, ErrorKind::malformed, {"/t"}, [&] { h5.children("/t"); });
    expect_error(ExitStatus::output, ErrorKind::missing, {"/none"}, [&] { h5.children("/none"); });
    expect_error(ExitStatus::output, ErrorKind::contradiction, {"/x", "4", "3"}, [&] {
        h5.write("/x", std::vector<double>{1, 2, 3}, {2, 2});
    });
    expect_error(ExitStatus::output, ErrorKind::contradiction, {"/x", "column b"}, [&] {
        h5.write_table("/x", {{"a", {1, 2}, {}, {}}, {"b", {1}, {}, {}}});
    });
    expect_error(ExitStatus::output, ErrorKind::malformed, {"/t/below"},
                 [&] { h5.write("/t/below", std::vector<double>{1}); });
    EXPECT_FALSE(h5.exists("/x"));
    h5.close();
    const auto open_refused = [&](ErrorKind kind, const std::string& name) {
        expect_error(ExitStatus::input, kind, {(folder_ / name).string()},
                     [&] { Hdf5File::open(folder_ / name, false, ExitStatus::input); });
    };
    open_refused(ErrorKind::missing, "none.h5");
    open_refused(ErrorKind::malformed, "");
    std::ofstream(folder_ / "empty.h5");
    open_refused(ErrorKind::malformed, "empty.h5");
    std::filesystem::resize_file(file(), std::filesystem::file_size(file()) - 1000);
    open_refused(ErrorKind::malformed, "f.h5");
    expect_error(ExitStatus::output, ErrorKind::no_access, {"none/f.h5"},
                 [&] { Hdf5File::create(folder_ / "none/f.h5"); });
}

TEST_F(Hdf5FileTest, ALockedFileIsInUse) {
    write_everything(file());
    const int held = open(file().c_str(), O_RDWR);
    ASSERT_EQ(flock(held, LOCK_EX | LOCK_NB), 0);
    expect_error(ExitStatus::output, ErrorKind::in_use, {file().string()},
                 [&] { Hdf5File::open(file(), false, ExitStatus::output); });
    close(held);
    EXPECT_NO_THROW(Hdf5File::open(file(), false, ExitStatus::output));
}

TEST_F(Hdf5FileTest, StaysWithinTheFile) {
    if (!has_h5py()) GTEST_SKIP() << "needs h5py";
    ASSERT_TRUE(python("w", R"(
import os
folder = os.path.dirname(sys.argv[1])
with h5py.File(folder + '/other.h5', 'w') as other: other['x'] = np.arange(3)
f['own'] = np.arange(3)
f['soft'] = h5py.SoftLink('/own')
f['link'] = h5py.ExternalLink('other.h5', '/x')
f['group'] = h5py.ExternalLink('other.h5', '/')
f['through'] = h5py.SoftLink('/group/x')
open(folder + '/raw', 'wb').write(bytes(24))
f.create_dataset('outside', (3,), 'i8', external=[(folder + '/raw', 0, 24)])
layout = h5py.VirtualLayout((3,), 'i8'); layout[:] = h5py.VirtualSource('other.h5', 'x', (3,))
f.create_virtual_dataset('virtual', layout)
)"));
    const Hdf5File h5 = Hdf5File::open(file(), false, ExitStatus::input);
    EXPECT_EQ(h5.read_int64("/soft"), (std::vector<Index>{0, 1, 2}));
    for (const char* path : {"/link", "/group/x", "/through"})
        expect_error(ExitStatus::input, ErrorKind::unsupported, {path, "other.h5"},
                     [&] { h5.read_int64(path); });
    for (const char* path : {"/outside", "/virtual"})
        expect_error(ExitStatus::input, ErrorKind::unsupported, {path}, [&] { h5.read_int64(path); });
}

TEST_F(Hdf5FileTest, ReadsVirtualDataSetsOfTheSameFile) {
    if (!has_h5py()) GTEST_SKIP() << "needs h5py";
    ASSERT_TRUE(python("w", R"(
def virtual(name, length, *parts):
    layout = h5py.VirtualLayout((length,), 'i8')
    for first, source in parts: layout[first:first + source.shape[0]] = source
    f.create_virtual_dataset(name, layout, fillvalue=7)
f['a'] = np.arange(3); f.create_dataset('b', data=np.arange(10, 14), chunks=(2,), compression='gzip')
virtual('both', 7, (0, h5py.VirtualSource(f['a'])), (3, h5py.VirtualSource(f['b'])))
virtual('gap', 8, (0, h5py.VirtualSource(f['a'])), (3, h5py.VirtualSource(f['b'])))
virtual('beyond', 3, (0, h5py.VirtualSource('.', '/a', (6,))[3:6]))
virtual('part', 2, (0, h5py.VirtualSource(f['b'])[1:3]))
virtual('gone', 3, (0, h5py.VirtualSource('.', '/none', (3,))))
virtual('twice', 7, (0, h5py.VirtualSource(f['both'])))
)"));
    const Hdf5File h5 = Hdf5File::open(file(), false, ExitStatus::input);
    EXPECT_EQ(h5.read_int32("/both"), (std::vector<std::int32_t>{0, 1, 2, 10, 11, 12, 13}));
    EXPECT_EQ(h5.read_int32("/part"), (std::vector<std::int32_t>{11, 12}));
    for (const char* path : {"/gap", "/beyond"})
        expect_error(ExitStatus::input, ErrorKind::malformed, {"f.h5", path}, [&] { h5.read_int64(path); });
    expect_error(ExitStatus::input, ErrorKind::missing, {"f.h5", "/none"}, [&] { h5.read_int64("/gone"); });
    expect_error(ExitStatus::input, ErrorKind::unsupported, {"f.h5", "/both"},
                 [&] { h5.read_int64("/twice"); });
}

TEST_F(Hdf5FileTest, ReadsBooleansAsIntegers) {
    if (!has_h5py()) GTEST_SKIP() << "needs h5py";
    ASSERT_TRUE(python("w", R"(
f['true'] = np.array([True, False, True])
f.create_dataset('named', data=np.array([2, 0], 'i2'), dtype=h5py.enum_dtype({'a': 0, 'b': 2}, 'i2'))
)"));
    const Hdf5File h5 = Hdf5File::open(file(), false, ExitStatus::input);
    EXPECT_EQ(h5.read_int32("/true"), (std::vector<std::int32_t>{1, 0, 1}));
    EXPECT_EQ(h5.read_doubles("/true"), (std::vector<double>{1, 0, 1}));
    EXPECT_EQ(h5.read_int32("/named"), (std::vector<std::int32_t>{2, 0}));
    EXPECT_TRUE(h5.is_integer("/true"));
}

TEST_F(Hdf5FileTest, ReadsNumbersOfTheUsualMakesAlone) {
    if (!has_h5py()) GTEST_SKIP() << "needs h5py";
    ASSERT_TRUE(python("w", R"(
for kind in ('i1', 'u1', '<i2', '>i2', '<u4', '>i4', '<i8', '>u8', '<f2', '>f2', '<f4', '>f4', '<f8', '>f8'):
    f['usual/' + kind] = np.array([1, 2, 3], kind)
def odd(name, copied, change):
    kind = copied.copy(); change(kind)
    h5py.h5d.create(f.id, name.encode(), kind, h5py.h5s.create_simple((3,)))
odd('narrow', h5py.h5t.STD_I32LE, lambda t: t.set_precision(12))
odd('shifted', h5py.h5t.STD_I32LE, lambda t: (t.set_precision(12), t.set_offset(20)))
odd('bfloat', h5py.h5t.IEEE_F32LE, lambda t: (t.set_fields(15, 7, 8, 0, 7), t.set_size(2)))
odd('biased', h5py.h5t.IEEE_F64LE, lambda t: t.set_ebias(1000))
f['long'] = np.array([1, 2, 3], np.longdouble)
)"));
    const Hdf5File h5 = Hdf5File::open(file(), false, ExitStatus::input);
    const std::vector<std::string> kinds = h5.children("/usual");
    EXPECT_EQ(kinds.size(), 14u);
    for (const std::string& kind : kinds)
        EXPECT_EQ(h5.read_doubles("/usual/" + kind), (std::vector<double>{1, 2, 3})) << kind;
    for (const char* path : {"/narrow", "/shifted", "/bfloat", "/biased", "/long"})
        expect_error(ExitStatus::input, ErrorKind::unsupported, {path}, [&] { h5.read_doubles(path); });
}

TEST_F(Hdf5FileTest, BelievesNoBitsBehindTheNumber) {
    if (!has_h5py()) GTEST_SKIP() << "needs h5py";
    // No library writes such types: patched (HDF5 file format specification, IV.A.2.d: size, bit offset,
    // precision).
    ASSERT_TRUE(python("w", R"(
f['integers'] = np.array([1, 2, 3], '<i4')
f['numbers'] = np.array([1, 2, 3], '<f4')
f.attrs['integer'] = np.int16(7)
f.close()
whole = open(sys.argv[1], 'rb').read()
for size, offset, precision, times in ((4, 0, 32000, 2), (2, 65000, 16, 1)):
    described = lambda offset, precision: size.to_bytes(4, 'little') + offset.to_bytes(2, 'little') + precision.to_bytes(2, 'little')
    assert whole.count(described(0, 8 * size)) == times
    whole = whole.replace(described(0, 8 * size), described(offset, precision))
open(sys.argv[1], 'wb').write(whole)
)"));
    const Hdf5File h5 = Hdf5File::open(file(), false, ExitStatus::input);
    for (const char* path : {"/integers", "/numbers"})
        expect_error(ExitStatus::input, ErrorKind::unsupported, {path}, [&] { h5.read_doubles(path); });
    expect_error(ExitStatus::input, ErrorKind::unsupported, {"/@integer"},
                 [&] { h5.integer_attribute("/", "integer"); });
}

TEST_F(Hdf5FileTest, BelievesNoSizeThatTheFileCannotHold) {
    if (!has_h5py()) GTEST_SKIP() << "needs h5py";
    // 2^40 entries of which one chunk, or none, is stored; a megabyte of zeros that deflate packs as well as
    // it can.
    ASSERT_TRUE(python("w", R"(
f.create_dataset('chunked', (2**40,), 'i8', chunks=(1024,))[0] = 1
f.create_dataset('unwritten', (2**40,), 'i8')
f.create_dataset('packed', (2**24,), 'i8', data=np.zeros(2**24, 'i8'), chunks=(2**20,), compression='gzip', compression_opts=9)
)"));
    const Hdf5File h5 = Hdf5File::open(file(), false, ExitStatus::input);
    for (const char* path : {"/chunked", "/unwritten"}) {
        expect_error(ExitStatus::input, ErrorKind::malformed, {path}, [&] { h5.read_int64(path); });
        expect_error(ExitStatus::input, ErrorKind::malformed, {path}, [&] { h5.read_doubles(path); });
    }
    EXPECT_EQ(h5.read_int64("/packed").size(), std::size_t{1} << 24);
}

TEST_F(Hdf5FileTest, UnpacksChunksToTheirSizeOrNotAtAll) {
    if (!has_h5py()) GTEST_SKIP() << "needs h5py";
    // Whole, shuffled and with a checksum, one that skipped its filter; short, long, broken, without its
    // checksum; another filter.
    ASSERT_TRUE(python("w", R"(
import zlib
a = np.arange(64.0)
f.create_dataset('gzip', data=a, chunks=(16,), compression='gzip')
f.create_dataset('all', data=a, chunks=(16,), compression='gzip', shuffle=True, fletcher32=True)
f.create_dataset('plain', data=a, chunks=(16,), fletcher32=True)
s = f.create_dataset('skipped', shape=(16,), chunks=(16,), compression='gzip', dtype='f8')
s.id.write_direct_chunk((0,), a[:16].tobytes(), filter_mask=1)
for name, chunk, mask in (('short', zlib.compress(b'x' * 8), 0), ('long', zlib.compress(b'x' * 200), 0), ('broken', b'no deflate', 0), ('shorter', b'x' * 8, 1), ('cut', zlib.compress(a[:16].tobytes())[:-9], 0)):
    f.create_dataset(name, shape=(16,), chunks=(16,), compression='gzip', dtype='f8').id.write_direct_chunk((0,), chunk, filter_mask=mask)
f.create_dataset('lzf', data=a, chunks=(16,), compression='lzf')
f.create_dataset('scaled', data=np.arange(64), chunks=(16,), scaleoffset=0)
)"));
    const Hdf5File h5 = Hdf5File::open(file(), false, ExitStatus::input);
    for (const char* path : {"/gzip", "/all", "/plain"}) {
        const std::vector<double> values = h5.read_doubles(path);
        ASSERT_EQ(values.size(), 64U) << path;
        for (std::size_t i = 0; i < values.size(); ++i) EXPECT_EQ(values[i], static_cast<double>(i)) << path;
    }
    EXPECT_EQ(h5.read_doubles("/skipped").at(15), 15.0);
    for (const char* path : {"/short", "/long", "/broken", "/shorter", "/cut"})
        for (int twice = 0; twice < 2; ++twice)
            expect_error(ExitStatus::input, ErrorKind::malformed, {path, "128 bytes"},
                         [&] { h5.read_doubles(path); });
    for (const char* path : {"/lzf", "/scaled"})
        expect_error(ExitStatus::input, ErrorKind::unsupported, {path, "GZIP"},
                     [&] { h5.read_doubles(path); });
}

TEST_F(Hdf5FileTest, APipeIsNoFile) {
    ASSERT_EQ(mkfifo(file().c_str(), 0600), 0);
    expect_error(ExitStatus::input, ErrorKind::malformed, {file().string()},
                 [&] { Hdf5File::open(file(), false, ExitStatus::input); });
}

TEST(FileAndPath, AreSplitAtTheLastColonBeforeASlash) {
    using Pair = std::pair<std::filesystem::path, std::string>;
    EXPECT_EQ(file_and_path("F.h5:/kernel/gram"), (Pair{"F.h5", "/kernel/gram"}));
    EXPECT_EQ(file_and_path("/data/run:3/F.h5:/g"), (Pair{"/data/run:3/F.h5", "/g"}));
    EXPECT_EQ(file_and_path("a:/b:/c"), (Pair{"a:/b", "/c"}));
    for (const char* wrong : {"F.h5", "F.h5:", "F.h5:/", ":/g", "F.h5:gram", ""})
        expect_error(ExitStatus::study, ErrorKind::malformed, {'"' + std::string(wrong) + '"'},
                     [&] { file_and_path(wrong); });
}

/// Where the disk fails for a moment and not when the file is closed.
TEST_F(Hdf5FileTest, SmallDataThatTheDiskDidNotTakeAreAnError) {
    Hdf5File h5 = Hdf5File::create(file());
    auto* const handler = std::signal(SIGXFSZ, SIG_IGN);
    rlimit before{};
    getrlimit(RLIMIT_FSIZE, &before);
    const rlimit none{1, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &none);
    expect_error(ExitStatus::output, ErrorKind::no_access, {"/v"},
                 [&] { h5.write("/v", std::vector<double>(50, 1.0)); });
    setrlimit(RLIMIT_FSIZE, &before);
    std::signal(SIGXFSZ, handler);
}

}  // namespace
}  // namespace tangram
