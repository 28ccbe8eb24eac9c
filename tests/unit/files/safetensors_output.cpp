#include "tangram/files/safetensors_output.hpp"

#include <gtest/gtest.h>

#include <cstring>

#include "support/expect_error.hpp"
#include "support/temporary_folder.hpp"
#include "support/unrecorded.hpp"

namespace tangram {
namespace {

using testing::TemporaryFolder;

template <class Number>
std::function<std::vector<std::byte>()> bytes_later(std::vector<Number> values) {
    return [values] {
        std::vector<std::byte> bytes(values.size() * sizeof(Number));
        std::memcpy(bytes.data(), values.data(), bytes.size());
        return bytes;
    };
}

TEST(SafetensorsOutput, IsReadBackInEveryType) {
    const TemporaryFolder folder;
    const auto file = folder / "model.safetensors";
    // 1, -2 and 0.5 in half precision and in bfloat16.
    write_safetensors(file, {{"z.weight", DType::F32, {2, 3}, bytes_later<float>({1, 2, 3, 4, 5, 6})},
                             {"a", DType::F64, {1}, bytes_later<double>({0.1})},
                             {"h", DType::F16, {3}, bytes_later<std::uint16_t>({0x3c00, 0xc000, 0x3800})},
                             {"b", DType::BF16, {3, 1}, bytes_later<std::uint16_t>({0x3f80, 0xc000, 0x3f00})},
                             {"c", DType::BF16, {1}, bytes_later<std::uint16_t>({0x3f80})},
                             {"empty", DType::F32, {0}, bytes_later<float>({})}});
    const Weights read(file, testing::Unrecorded());
    const auto expect = [&](const char* name, DType dtype, const std::vector<Index>& shape,
                            const std::vector<double>& values) {
        const TensorView& tensor = read.at(name);
        EXPECT_EQ(tensor.dtype, dtype) << name;
        EXPECT_EQ(tensor.shape, shape) << name;
        EXPECT_EQ(read.read<double>(tensor), values) << name;
    };
    ASSERT_EQ(read.tensors().size(), 6u);
    expect("z.weight", DType::F32, {2, 3}, {1, 2, 3, 4, 5, 6});
    expect("a", DType::F64, {1}, {0.1});
    expect("h", DType::F16, {3}, {1, -2, 0.5});
    expect("b", DType::BF16, {3, 1}, {1, -2, 0.5});
    expect("empty", DType::F32, {0}, {});
    // Each in a multiple of its type's size from the header's end, which is one of 8.
    for (const TensorView& tensor : read.tensors())
        EXPECT_EQ((tensor.bytes.data() - read.at("a").bytes.data()) % bytes_of(tensor.dtype), 0)
            << tensor.name;
}

TEST(SafetensorsOutput, RefusesWhatCannotBeWritten) {
    const TemporaryFolder folder;
    const auto nowhere = folder / "nowhere" / "model.safetensors";
    testing::expect_error(ExitStatus::output, ErrorKind::no_access, {nowhere.string()},
                          [&] { write_safetensors(nowhere, {}); });
    // A full disk.
    testing::expect_error(ExitStatus::output, ErrorKind::no_access, {"/dev/full"},
                          [] { write_synced("/dev/full", "x"); });
}

}  // namespace
}  // namespace tangram
