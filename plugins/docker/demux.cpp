#include "plugins/docker/demux.hpp"

#include <minions/error.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <string>

namespace minions::docker {

void Demultiplexer::feed(std::string_view bytes) {
    while (!bytes.empty()) {
        if (left_ == 0) {
            const std::size_t take = std::min(bytes.size(), sizeof header_ - have_);
            std::memcpy(header_ + have_, bytes.data(), take);
            bytes.remove_prefix(take);
            have_ += take;
            if (have_ == sizeof header_) take_header();
            continue;
        }
        const std::size_t take = std::min<std::size_t>(bytes.size(), left_);
        left_ -= static_cast<std::uint32_t>(take);
        sink_(stream_, bytes.substr(0, take));
        bytes.remove_prefix(take);
    }
}

void Demultiplexer::finish() const {
    if (have_ == 0 && left_ == 0) return;
    throw Error(Code::unavailable, "the engine's output stream was cut off", "try again", true);
}

void Demultiplexer::take_header() {
    have_ = 0;
    if (header_[0] == 3) {
        // Stream 3 carries errors of the engine itself; people look for them where the errors are.
        header_[0] = 2;
    }
    if (header_[0] > 2 || header_[1] != 0 || header_[2] != 0 || header_[3] != 0) {
        throw Error(Code::internal,
                    fmt::format("the engine's output stream is out of step (header byte {})", header_[0]));
    }
    stream_ = static_cast<Stream>(header_[0]);
    left_ = std::uint32_t{header_[4]} << 24U | std::uint32_t{header_[5]} << 16U |
            std::uint32_t{header_[6]} << 8U | std::uint32_t{header_[7]};
}

}  // namespace minions::docker
