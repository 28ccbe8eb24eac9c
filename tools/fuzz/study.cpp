#include "input_file.hpp"
#include "tangram/study/configuration.hpp"
#include "tangram/study/stored_study.hpp"

using namespace tangram;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    // As a study that an output file keeps.
    fuzz::read([&] {
        const std::string stored(fuzz::text(data, size));
        static_cast<void>(study_keys(stored));
        static_cast<void>(kernel_difference(Study{}, stored));
        if (study_differences(stored, stored).results) std::abort();
    });
    return fuzz::read([&] {
        FilesRead files;
        const Study study = read_study(fuzz::file("study.toml", fuzz::text(data, size)), {}, files);
        const std::string stored = to_toml(study);
        if (kernel_difference(study, stored)) std::abort();
    });
}
