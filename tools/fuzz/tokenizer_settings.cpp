#include <array>

#include "input_file.hpp"
#include "tangram/text/tokenizer.hpp"

using namespace tangram;

/// What stands beside tokenizer.json: tokenizer_config.json, special_tokens_map.json and added_tokens.json,
/// with a zero byte between them. The first byte says beside which of two tokenizers.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    static const std::array<std::string, 2> tokenizers{fuzz::seed("tokenizer/bert"),
                                                       fuzz::seed("tokenizer/bytelevel")};
    const std::string& tokenizer = tokenizers[data[0] % tokenizers.size()];
    fuzz::file("tokenizer.json", tokenizer.substr(0, tokenizer.find('\0')));
    std::string_view rest = fuzz::text(data + 1, size - 1);
    for (const char* const name : {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"}) {
        const std::size_t end = std::min(rest.find('\0'), rest.size());
        if (end == 0)
            std::filesystem::remove(fuzz::folder() / name);
        else
            fuzz::file(name, rest.substr(0, end));
        rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    return fuzz::read([&] {
        FilesRead files;
        const Tokenizer read(fuzz::folder(), files);
        const Encoding encoding = read.encode("A film, it's bad [MASK]<s>.", true);
        for (const std::int32_t id : encoding.ids)
            if (read.token(id).empty()) std::abort();
        if (const auto mask = read.mask_token(); mask && !read.find(*mask)) std::abort();
    });
}
