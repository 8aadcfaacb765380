#include "core/api/exec.hpp"

#include "core/api/helpers.hpp"

#include <minions/base/call_pipes.hpp>

#include <Poco/Base64Decoder.h>
#include <Poco/Base64Encoder.h>
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <sstream>
#include <string>

namespace minions::core::api {
namespace {

/// How text that may be binary is written in JSON.
enum class Encoding { utf8, base64 };

}  // namespace
}  // namespace minions::core::api

namespace minions {
template <>
struct EnumWords<core::api::Encoding> {
    static constexpr std::string_view words[] = {"utf-8", "base64"};
};
}  // namespace minions

namespace minions::core::api {
namespace {

struct ExecBody {
    ExecSpec spec;
    std::optional<std::string> input;
    Encoding input_encoding = Encoding::utf8;
    std::optional<double> timeout_seconds;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("command", self.spec.command,
              Field{.required = true,
                    .max_size = 4096,
                    .doc = "program, looked up in the instance's PATH; no shell"});
        visit("args", self.spec.args, Field{.max_size = 4096});
        visit("env", self.spec.env,
              Field{.secret = true, .max_size = 1024, .doc = "added to the instance's own"});
        visit("cwd", self.spec.cwd, Field{.max_size = 4096});
        visit("user", self.spec.user, Field{.max_size = 256, .doc = "name or uid[:gid]"});
        visit("stdin", self.input, Field{.doc = "what the command reads; absent: nothing"});
        visit("stdin_encoding", self.input_encoding);
        visit("timeout_seconds", self.timeout_seconds, Field{.min = 0, .max = 2592000});
    }
};

std::string decode_base64(const std::string& text) {
    std::istringstream source(text);
    Poco::Base64Decoder decoder(source);
    std::string out;
    char buffer[4096];
    while (decoder.read(buffer, sizeof buffer) || decoder.gcount() > 0) {
        out.append(buffer, static_cast<std::size_t>(decoder.gcount()));
    }
    if (decoder.bad()) throw Error(Code::invalid, "field 'stdin' is not base64");
    return out;
}

std::string encode_base64(const std::string& bytes) {
    std::ostringstream sink;
    Poco::Base64Encoder encoder(sink);
    encoder.rdbuf()->setLineLength(0);
    encoder << bytes;
    encoder.close();
    return sink.str();
}

/// How many bytes at the end of `text` begin a UTF-8 character that is not all there.
std::size_t begun_character(std::string_view text) {
    for (std::size_t back = 1; back <= std::min<std::size_t>(text.size(), 3); ++back) {
        const auto byte = static_cast<unsigned char>(text[text.size() - back]);
        if (byte < 0x80) return 0;
        if (byte < 0xc0) continue;  // goes on with a character
        const std::size_t length = byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
        return back < length ? back : 0;
    }
    return 0;
}

/// What a command wrote, up to a size; what comes beyond is dropped, so that the command goes on.
class Output {
  public:
    Output(std::string name, std::size_t limit) : name_(std::move(name)), limit_(limit) {}

    void add(std::string_view piece) {
        const std::size_t room = limit_ - bytes_.size();
        bytes_.append(piece.substr(0, room));
        cut_ = cut_ || piece.size() > room;
    }
    bool cut() const noexcept { return cut_; }

    /// Sets the members of the reply: its text, and the encoding where that is not UTF-8.
    void report(Value& reply) {
        if (cut_) bytes_.resize(bytes_.size() - begun_character(bytes_));
        // A NUL is UTF-8, but not what our parsers accept in a string.
        const bool binary = !is_utf8(bytes_) || bytes_.find('\0') != std::string::npos;
        reply.set(name_, binary ? encode_base64(bytes_) : bytes_);
        if (binary) reply.set(name_ + "_encoding", "base64");
    }

  private:
    std::string name_;
    std::size_t limit_;
    std::string bytes_;
    bool cut_ = false;
};

/// The three streams of a command that is run to its end.
class Collector {
  public:
    Collector(std::optional<std::string> input, std::size_t limit)
        : out_("stdout", limit), err_("stderr", limit) {
        if (input) streams_.input = pipes_.feed(std::move(*input));
        streams_.output = pipes_.collect([this](std::string_view piece) { out_.add(piece); });
        streams_.error = pipes_.collect([this](std::string_view piece) { err_.add(piece); });
        pipes_.start();
    }

    ExecStreams take_streams() { return std::move(streams_); }

    /// Once the command has ended: the members of the reply stdout, stderr, their encodings, truncated.
    void report(Value& reply) {
        const bool complete = pipes_.finish();
        out_.report(reply);
        err_.report(reply);
        if (out_.cut() || err_.cut() || !complete) reply.set("truncated", true);
    }

  private:
    ExecStreams streams_;
    Output out_;
    Output err_;
    CallPipes pipes_;  // last: its thread ends before what it fills
};

}  // namespace

Value exec_request_schema() { return schema_of<ExecBody>(); }

http::Reply exec(Services& services, http::Request& request) {
    const InstanceKey key = instance_key(request);
    ExecBody body = body_of<ExecBody>(request);
    if (body.spec.command.empty()) throw Error(Code::invalid, "field 'command' must not be empty");
    if (body.input && body.input_encoding == Encoding::base64) body.input = decode_base64(*body.input);
    const auto timeout =
        body.timeout_seconds
            ? std::chrono::milliseconds(static_cast<std::int64_t>(*body.timeout_seconds * 1000))
            : services.exec_timeout();

    Collector collector(std::move(body.input), services.exec_output_bytes());
    const CallerGone gone(request.client);
    try {
        const CallLimits limits{std::chrono::steady_clock::now() + timeout, gone.fd()};
        const ExecEnd end = services.instances.exec(key, body.spec, collector.take_streams(), limits);
        Value reply =
            Value::object({{"exit_code", end.exit_code ? *end.exit_code : 128 + end.signal.value_or(0)}});
        collector.report(reply);
        if (end.signal) reply.set("signal", *end.signal);
        return http::json(200, reply);
    } catch (const Error& error) {
        if (error.code() != Code::deadline) throw;
        Value partial = Value::object({{"exit_code", nullptr}});
        collector.report(partial);
        Error late(Code::deadline,
                   fmt::format("the command did not end within {} seconds",
                               static_cast<double>(timeout.count()) / 1000),
                   "give it more with 'timeout_seconds'");
        for (auto& [name, value] : *partial.if_object()) late.with(name, value);
        throw late;
    }
}

}  // namespace minions::core::api
