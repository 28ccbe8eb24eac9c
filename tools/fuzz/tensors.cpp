#include "input_file.hpp"
#include "tangram/files/safetensors.hpp"
#include "tangram/model/architectures.hpp"
#include "tangram/model/lora.hpp"
#include "tangram/model/unused_tensors.hpp"

using namespace tangram;

/// A safetensors file as the weights of a small model, then as an adapter beside it.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const Program program = [] {
        FilesRead files;
        return program_of(Config(fuzz::file("config.json", fuzz::seed("config/gpt2-odd.json")), files));
    }();
    const auto file = fuzz::file("model.safetensors", fuzz::text(data, size));
    fuzz::read([&] {
        FilesRead files;
        Weights weights(file, files);
        adopt_names(weights, program);
        static_cast<void>(check_unused(program, weights, [](const Parameter&) { return false; }));
    });
    return fuzz::read([&] {
        FilesRead files;
        const Weights adapter(file, files);
        static_cast<void>(adapted_modules(program, adapter, 2));
    });
}
