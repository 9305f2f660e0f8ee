// The client of gRPC's C++ implementation that benchmarks measure evenkeel beside, as its users would write one.
//
//   peer --servers A:P,A:P,… [--policy round_robin] [--workers N] [--ca FILE]
//
// It connects, prints `ready`, and then answers each line of standard input, an order in JSON, with a line of results. docs/BENCHMARKS.md,
// section Peers, has the words.

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iostream>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>

#include "load.h"

namespace {

// How long servers may take to be connected.
constexpr auto kPatience = std::chrono::seconds(20);

struct Options {
  std::string servers;
  std::string policy = "round_robin";
  int workers = static_cast<int>(std::thread::hardware_concurrency());
  std::string ca;
};

Options Parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    const std::string value = argv[i + 1];
    if (flag == "--servers") {
      options.servers = value;
    } else if (flag == "--policy") {
      options.policy = value;
    } else if (flag == "--workers") {
      options.workers = std::stoi(value);
    } else if (flag == "--ca") {
      options.ca = value;
    } else {
      throw std::runtime_error("unknown flag " + flag);
    }
  }
  if (options.servers.empty() || argc % 2 == 0 || options.workers < 1) {
    throw std::runtime_error("it takes --servers A:P,… [--policy NAME] [--workers N] [--ca FILE]");
  }
  // The library falls back in silence for a name it does not know.
  if (options.policy != "round_robin" && options.policy != "pick_first") {
    throw std::runtime_error("policy " + options.policy + ", allowed are round_robin and pick_first");
  }
  return options;
}

std::shared_ptr<grpc::Channel> Connect(const Options& options) {
  grpc::ChannelArguments arguments;
  arguments.SetLoadBalancingPolicyName(options.policy);
  // Otherwise every request says that it is for the whole list, commas included, which servers that read it refuse.
  arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, "localhost");
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (!options.ca.empty()) {
    std::ifstream file(options.ca);
    std::stringstream text;
    if (!(text << file.rdbuf())) throw std::runtime_error("cannot read " + options.ca);
    grpc::SslCredentialsOptions tls;
    tls.pem_root_certs = text.str();
    credentials = grpc::SslCredentials(tls);
  }
  return grpc::CreateCustomChannel("ipv4:" + options.servers, credentials, arguments);
}

// A channel says that it is ready when one connection is; calls tell when all are.
void ReachAll(Echo::Stub& stub, const Options& options) {
  const auto deadline = std::chrono::system_clock::now() + kPatience;
  const auto commas = std::count(options.servers.begin(), options.servers.end(), ',');
  const size_t expected = options.policy == "pick_first" ? 1 : commas + 1;
  std::set<std::string> seen;
  while (seen.size() < expected) {
    grpc::ClientContext context;
    context.set_deadline(deadline);
    context.set_wait_for_ready(true);
    evenkeel::echo::v1::EchoReply reply;
    const grpc::Status status = stub.Unary(&context, {}, &reply);
    if (!status.ok()) throw std::runtime_error("not every server was reached: " + status.error_message());
    seen.insert(context.peer());
  }
}

Order Read(const std::string& line) {
  google::protobuf::Struct object;
  const auto status = google::protobuf::util::JsonStringToMessage(line, &object);
  if (!status.ok()) throw std::runtime_error(line + ": " + status.ToString());
  const auto& fields = object.fields();
  const auto number = [&](const char* name) {
    const auto found = fields.find(name);
    return found == fields.end() ? -1 : static_cast<int>(found->second.number_value());
  };
  const auto kind = fields.find("kind");
  const std::string word = kind == fields.end() ? "" : kind->second.string_value();
  const Order order{word == "stream", number("concurrency"), number("millis"), number("payload")};
  if ((word != "unary" && word != "stream") || order.concurrency < 1 || order.millis < 1 || order.payload < 0) {
    throw std::runtime_error("cannot obey " + line);
  }
  return order;
}

void Run(const Options& options) {
  const auto stub = Echo::NewStub(Connect(options));
  ReachAll(*stub, options);
  std::cout << "ready" << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << Obey(*stub, Read(line), options.workers) << std::endl;
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    Run(Parse(argc, argv));
  } catch (const std::exception& error) {
    std::cerr << "peer: " << error.what() << std::endl;
    return 1;
  }
}
