#pragma once
#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "tangram/files/safetensors.hpp"

namespace tangram {

/// A tensor that is to be written: its place in the file follows from type and shape, its bytes (row-major,
/// little-endian) are asked for when their turn comes.
struct WrittenTensor {
    std::string name;
    DType dtype;
    std::vector<Index> shape;
    std::function<std::vector<std::byte>()> bytes;
};

/// Writes a safetensors file, tensors in order of their names, with the metadata {"format": "pt"} that
/// transformers asks for, and syncs it to disk. Local.
/// @throws Error(output) naming the file where it cannot be written
void write_safetensors(const std::filesystem::path& file, std::vector<WrittenTensor> tensors);

/// Copies bytes into a new file and syncs it to disk. Local. @throws Error(output) naming it
void write_synced(const std::filesystem::path& file, const std::string& bytes);

}  // namespace tangram
