#include "tangram/text/tokenizer.hpp"
#include "input_file.hpp"

using namespace tangram;

/// tokenizer.json up to the first zero byte, behind it a text.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view all = fuzz::text(data, size);
    const std::size_t end = std::min(all.find('\0'), all.size());
    const std::string_view behind = all.substr(std::min(end + 1, all.size()));
    return fuzz::read([&] {
        FilesRead files;
        const Tokenizer tokenizer(fuzz::file("tokenizer.json", all.substr(0, end)), files);
        for (const std::string_view text :
             {behind, std::string_view("A film, it's  n\xc3\xb6t 12345 bad [MASK].\n")}) {
            const Encoding encoding = tokenizer.encode(text, true);
            for (const std::int32_t id : encoding.ids) static_cast<void>(tokenizer.token(id));
        }
    });
}
