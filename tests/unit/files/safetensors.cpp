#include "tangram/files/safetensors.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "support/expect_error.hpp"
#include "support/temporary_folder.hpp"
#include "support/unrecorded.hpp"

namespace tangram {
namespace {

using testing::expect_error;
using testing::TemporaryFolder;

/// A safetensors file by hand: the header's length, the header, the data.
std::string file_of(const std::string& header, const std::string& data) {
    std::uint64_t length = header.size();
    std::string bytes(8, '\0');
    std::memcpy(bytes.data(), &length, 8);
    return bytes + header + data;
}

template <class T>
std::string bytes_of(const std::vector<T>& values) {
    std::string bytes(values.size() * sizeof(T), '\0');
    if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
    return "\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" +
           offsets + "}";
}

class Safetensors : public ::testing::Test {
  protected:
    /// One file with this header's inside and this data.
    Weights open(const std::string& header, const std::string& data) const {
        return Weights(folder_.write("model.safetensors", file_of("{" + header + "}", data)),
                       testing::Unrecorded());
    }
    void refused(ErrorKind kind, const std::string& header, const std::string& data,
                 std::initializer_list<std::string> names) const {
        expect_error(ExitStatus::input, kind, {"model.safetensors"}, [&] { open(header, data); });
        expect_error(ExitStatus::input, kind, names, [&] { open(header, data); });
    }
    void refused_file(ErrorKind kind, const std::string& bytes,
                      std::initializer_list<std::string> names) const {
        const auto file = folder_.write("model.safetensors", bytes);
        expect_error(ExitStatus::input, kind, {"model.safetensors"},
                     [&] { Weights weights(file, testing::Unrecorded()); });
        expect_error(ExitStatus::input, kind, names, [&] { Weights weights(file, testing::Unrecorded()); });
    }
    TemporaryFolder folder_;
};

TEST_F(Safetensors, RoundTripInOrderOfName) {
    const std::vector<float> a{1.5F, -2, 3.25F, 0, 1e-40F, 3e38F};
    const std::vector<double> b{std::numeric_limits<double>::denorm_min(), -1.0 / 3};
    const Weights weights =
        open(entry("b", "F64", "[2]", "[24,40]") + "," + entry("a", "F32", "[2,3]", "[0,24]") +
                 R"(,"__metadata__":{"format":"pt"})" + "," + entry("scalar", "F32", "[]", "[40,44]") + "," +
                 entry("none", "F16", "[0,3]", "[44,44]"),
             bytes_of(a) + bytes_of(b) + bytes_of(std::vector<float>{7}));
    ASSERT_EQ(weights.tensors().size(), 4U);
    EXPECT_EQ(weights.tensors()[0].name, "a");
    EXPECT_EQ(weights.tensors()[1].name, "b");
    EXPECT_EQ(weights.tensors()[2].name, "none");
    EXPECT_EQ(weights.at("a").shape, (std::vector<Index>{2, 3}));
    EXPECT_EQ(weights.read<float>(weights.at("a")), a);
    EXPECT_EQ(weights.read<double>(weights.at("a")), std::vector<double>(a.begin(), a.end()));
    EXPECT_EQ(weights.read<double>(weights.at("b")), b);
    EXPECT_EQ(weights.read<float>(weights.at("b")), (std::vector<float>{0, -1.0F / 3}));
    EXPECT_EQ(weights.at("scalar").size(), 1);
    EXPECT_EQ(weights.read<float>(weights.at("scalar")), std::vector<float>{7});
    EXPECT_EQ(weights.at("none").size(), 0);
    EXPECT_TRUE(weights.read<float>(weights.at("none")).empty());
    EXPECT_EQ(weights.find("c"), nullptr);
    expect_error(ExitStatus::input, ErrorKind::missing, {"model.safetensors", "scaler", "scalar"},
                 [&] { weights.at("scaler"); });
    std::vector<double> into(6, std::nan(""));
    weights.read(weights.at("a"), std::span<double>(into));
    EXPECT_EQ(into, std::vector<double>(a.begin(), a.end()));
}

TEST_F(Safetensors, HalfPrecisionIsExact) {
    // IEEE 754 binary16: smallest and largest subnormal, smallest normal, 1, the next above, -2, 65504, 1/3,
    // signed zeros.
    const std::vector<std::uint16_t> half{0x0001, 0x03FF, 0x0400, 0x3C00, 0x3C01,
                                          0xC000, 0x7BFF, 0x3555, 0x8000, 0x8001};
    const std::vector<double> half_values{0x1p-24, 0x3FFp-24, 0x1p-14,   1,    1 + 0x1p-10,
                                          -2,      65504,     0x555p-12, -0.0, -0x1p-24};
    // bfloat16: the upper half of binary32; smallest subnormal 2^-133, largest 0x7F7F.
    const std::vector<std::uint16_t> brain{0x0001, 0x007F, 0x0080, 0x3F80, 0x3F81, 0xC000, 0x7F7F, 0x8000};
    const std::vector<double> brain_values{0x1p-133, 0x7Fp-133, 0x1p-126, 1, 1 + 0x1p-7, -2, 0xFFp120, -0.0};
    const Weights weights =
        open(entry("half", "F16", "[10]", "[0,20]") + "," + entry("brain", "BF16", "[8]", "[20,36]"),
             bytes_of(half) + bytes_of(brain));
    EXPECT_EQ(weights.read<double>(weights.at("half")), half_values);
    EXPECT_EQ(weights.read<double>(weights.at("brain")), brain_values);
    const auto floats = weights.read<float>(weights.at("half")),
               more = weights.read<float>(weights.at("brain"));
    EXPECT_EQ(std::vector<double>(floats.begin(), floats.end()), half_values);
    EXPECT_EQ(std::vector<double>(more.begin(), more.end()), brain_values);
    EXPECT_TRUE(std::signbit(floats[8]));
    EXPECT_TRUE(std::signbit(more[7]));
}

TEST_F(Safetensors, NamesAnEntryThatIsNotFinite) {
    const float nan = std::nanf("");
    const Weights weights = open(
        entry("f", "F32", "[2,2]", "[0,16]") + "," + entry("h", "F16", "[2]", "[16,20]") + "," +
            entry("b", "BF16", "[2]", "[20,24]") + "," + entry("d", "F64", "[1]", "[24,32]"),
        bytes_of(std::vector<float>{1, 2, nan, 4}) + bytes_of(std::vector<std::uint16_t>{0x3C00, 0x7C00}) +
            bytes_of(std::vector<std::uint16_t>{0xFF80, 0}) + bytes_of(std::vector<double>{1e300}));
    expect_error(ExitStatus::input, ErrorKind::non_finite, {"model.safetensors", "tensor f", "entry 2"},
                 [&] { weights.read<float>(weights.at("f")); });
    expect_error(ExitStatus::input, ErrorKind::non_finite, {"tensor f", "entry 2"},
                 [&] { weights.read<double>(weights.at("f")); });
    expect_error(ExitStatus::input, ErrorKind::non_finite, {"tensor h", "entry 1"},
                 [&] { weights.read<float>(weights.at("h")); });
    expect_error(ExitStatus::input, ErrorKind::non_finite, {"tensor b", "entry 0"},
                 [&] { weights.read<double>(weights.at("b")); });
    EXPECT_EQ(weights.read<double>(weights.at("d"))[0], 1e300);
    expect_error(ExitStatus::input, ErrorKind::non_finite, {"tensor d", "entry 0", "float32"},
                 [&] { weights.read<float>(weights.at("d")); });
}

TEST_F(Safetensors, IntegerTensorsAreThereForNobody) {
    const Weights weights =
        open(entry("mask", "BOOL", "[3]", "[0,3]") + "," + entry("ids", "I64", "[1]", "[3,11]") + "," +
                 entry("w", "F32", "[1]", "[11,15]"),
             std::string(11, '\1') + bytes_of(std::vector<float>{2.5F}));
    ASSERT_EQ(weights.tensors().size(), 1U);
    EXPECT_EQ(weights.read<float>(weights.at("w"))[0], 2.5F);  // at an odd address
    EXPECT_EQ(weights.find("ids"), nullptr);
    expect_error(ExitStatus::input, ErrorKind::unsupported, {"tensor ids"}, [&] { weights.at("ids"); });
    refused(ErrorKind::contradiction, entry("ids", "I64", "[2]", "[0,8]"), std::string(8, '\0'),
            {"tensor ids", "16 bytes"});
}

TEST_F(Safetensors, Headers) {
    refused_file(ErrorKind::malformed, "", {"0 bytes"});
    refused_file(ErrorKind::malformed, "1234567", {"7 bytes"});
    refused_file(ErrorKind::malformed, std::string("\0\0\0\0\0\0\0\x10", 8), {"1152921504606846976 bytes"});
    refused_file(ErrorKind::malformed, std::string(8, '\xFF'), {"18446744073709551615 bytes"});
    refused_file(ErrorKind::malformed, "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 17\n",
                 {"git lfs pull"});
    refused_file(ErrorKind::malformed, std::string("\3\0\0\0\0\0\0\0{}", 10), {"3 bytes"});
    refused_file(ErrorKind::malformed, file_of("{\"a\": ", ""), {"header", "byte"});
    refused_file(ErrorKind::malformed, file_of("", ""), {"header"});
    refused_file(ErrorKind::malformed, file_of("[1]", ""), {"header"});
    refused_file(ErrorKind::unsupported, file_of(std::string(1'000'000, '['), ""), {"header"});
    refused(ErrorKind::missing, "\"a\":1", "", {"tensor a", "dtype"});
    refused(ErrorKind::malformed, R"("a":{"dtype":"F32","shape":[1]})", "1234", {"tensor a", "data_offsets"});
    refused(ErrorKind::missing, R"("a":{"dtype":"F32","data_offsets":[0,4]})", "1234", {"tensor a", "shape"});
    refused(ErrorKind::unsupported, entry("a", "F8_E4M3", "[4]", "[0,4]"), "1234", {"tensor a", "F8_E4M3"});
    refused(ErrorKind::contradiction,
            entry("a", "F32", "[1]", "[0,4]") + "," + entry("a", "F32", "[1]", "[0,4]"), "1234", {"\"a\""});
    EXPECT_NO_THROW(open("", ""));
}

TEST_F(Safetensors, ShapesAndOffsets) {
    const std::string eight = "12345678";
    refused(ErrorKind::contradiction, entry("a", "F32", "[3]", "[0,8]"), eight,
            {"tensor a", "12 bytes", "8"});
    refused(ErrorKind::malformed, entry("a", "F32", "[-2]", "[0,8]"), eight, {"tensor a", "shape"});
    refused(ErrorKind::malformed, entry("a", "F32", "[2.0]", "[0,8]"), eight, {"tensor a", "shape"});
    refused(ErrorKind::out_of_range, entry("a", "F32", "[4294967296,4294967296]", "[0,8]"), eight,
            {"tensor a", "64 bits"});
    refused(ErrorKind::out_of_range, entry("a", "F32", "[4611686018427387906]", "[0,8]"), eight,
            {"tensor a", "64 bits"});
    refused(ErrorKind::out_of_range, entry("a", "F32", "[18446744073709551615]", "[0,8]"), eight,
            {"tensor a", "64 bits"});
    refused(ErrorKind::malformed, entry("a", "F32", "[2]", "[8,0]"), eight, {"tensor a", "data_offsets"});
    refused(ErrorKind::malformed, entry("a", "F32", "[2]", "[-8,0]"), eight, {"tensor a", "data_offsets"});
    refused(ErrorKind::malformed, entry("a", "F32", "[2]", "[0,8,16]"), eight, {"tensor a", "data_offsets"});
    refused(ErrorKind::malformed, entry("a", "F32", "[1]", "[4,8]"), eight, {"4 bytes", "tensor a"});
    refused(ErrorKind::malformed, entry("a", "F32", "[1]", "[0,4]"), eight, {"4 bytes"});
    refused(ErrorKind::malformed, entry("a", "F16", "[1]", "[0,2]") + "," + entry("b", "F32", "[1]", "[4,8]"),
            eight, {"2 bytes", "tensor b"});
    refused(ErrorKind::malformed, entry("a", "F32", "[2]", "[0,8]") + "," + entry("b", "F32", "[1]", "[4,8]"),
            eight, {"tensor b"});
    refused(ErrorKind::malformed, entry("a", "F32", "[2]", "[0,8]") + "," + entry("b", "F32", "[2]", "[0,8]"),
            eight, {"tensor b"});
}

TEST_F(Safetensors, TruncatedFileSaysHowMuchIsMissing) {
    refused(ErrorKind::malformed,
            entry("a", "F32", "[2]", "[0,8]") + "," + entry("b", "F64", "[2]", "[8,24]"),
            std::string(19, 'x'), {"5 bytes", "tensor b"});
}

TEST_F(Safetensors, Folders) {
    expect_error(ExitStatus::input, ErrorKind::missing,
                 {folder_.path().string(), "model.safetensors.index.json"},
                 [&] { Weights weights(folder_.path(), testing::Unrecorded()); });
    expect_error(ExitStatus::input, ErrorKind::no_access, {"absent.safetensors"},
                 [&] { Weights weights(folder_.path() / "absent.safetensors", testing::Unrecorded()); });
    const auto shard = [&](const std::string& file, const std::string& tensor, float value) {
        folder_.write(file, file_of("{" + entry(tensor, "F32", "[1]", "[0,4]") + "}",
                                    bytes_of(std::vector<float>{value})));
    };
    const auto index = [&](const std::string& map) {
        folder_.write("model.safetensors.index.json", "{\"weight_map\":" + map + "}");
    };
    const auto refuse = [&](ErrorKind kind, std::initializer_list<std::string> names) {
        expect_error(ExitStatus::input, kind, names,
                     [&] { Weights weights(folder_.path(), testing::Unrecorded()); });
    };
    shard("one.safetensors", "b", 1);
    shard("two.safetensors", "a", 2);
    index(R"({"a": "two.safetensors", "b": "one.safetensors"})");
    Weights opened(folder_.path(), testing::Unrecorded());
    const Weights weights = std::move(opened);
    ASSERT_EQ(weights.tensors().size(), 2U);
    EXPECT_EQ(weights.files().size(), 2U);
    EXPECT_EQ(weights.read<float>(weights.tensors()[0])[0], 2);
    EXPECT_EQ(weights.read<float>(weights.at("b"))[0], 1);

    index(R"({"a": "two.safetensors", "b": "absent.safetensors"})");
    refuse(ErrorKind::missing, {"model.safetensors.index.json", "absent.safetensors"});
    index(R"({"a": "one.safetensors"})");
    refuse(ErrorKind::missing, {"one.safetensors", "tensor a"});
    index(R"({"a": "../two.safetensors"})");
    refuse(ErrorKind::unsupported, {"../two.safetensors"});
    index(R"({"a": "/etc/passwd"})");
    refuse(ErrorKind::unsupported, {"/etc/passwd"});
    index(R"({"a": ".."})");
    refuse(ErrorKind::unsupported, {"\"..\""});
    index(R"({"a": 1})");
    refuse(ErrorKind::malformed, {"weight_map of a"});
    index("{}");
    refuse(ErrorKind::degenerate, {"model.safetensors.index.json"});
    index("[]");
    refuse(ErrorKind::malformed, {"weight_map"});
    shard("two.safetensors", "b", 2);
    index(R"({"b": "one.safetensors", "c": "two.safetensors"})");
    refuse(ErrorKind::missing, {"tensor c"});
    index(R"({"b": "one.safetensors"})");
    EXPECT_EQ(Weights(folder_.path(), testing::Unrecorded()).tensors().size(), 1U);
    folder_.write("two.safetensors", file_of("{" + entry("b", "F32", "[1]", "[0,4]") + "," +
                                                 entry("c", "F32", "[0]", "[4,4]") + "}",
                                             "1234"));
    index(R"({"b": "one.safetensors", "c": "two.safetensors"})");
    refuse(ErrorKind::contradiction, {"tensor b"});
}

TEST_F(Safetensors, ReadsTheModelOfTheTests) {
    const Weights weights(std::filesystem::path(TANGRAM_TEST_DATA) / "neo-mini", testing::Unrecorded());
    const TensorView& embedding = weights.at("transformer.wte.weight");
    EXPECT_EQ(embedding.shape, (std::vector<Index>{2048, 128}));
    Index size = 0;
    for (const TensorView& tensor : weights.tensors()) size += tensor.size();
    EXPECT_EQ(size, 1086720);  // its documented number of parameters
}

}  // namespace
}  // namespace tangram
