#include "input_file.hpp"
#include "tangram/files/safetensors.hpp"

using namespace tangram;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    return fuzz::read([&] {
        FilesRead files;
        const Weights weights(fuzz::file("model.safetensors", fuzz::text(data, size)), files);
        for (const TensorView& tensor : weights.tensors()) {
            static_cast<void>(weights.read<double>(tensor));
            weights.check_finite<float>(tensor);
        }
    });
}
