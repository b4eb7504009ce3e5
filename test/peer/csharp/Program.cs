// An agent of our own on Mono, written from the protocol's description, independent of the Go code it tests.
using System;
using System.Collections.Generic;
using System.IO;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Threading;
using Halibut.Transport.Protocol;

namespace OctavoPeer
{
    class Program
    {
        const string Usage =
            "peer.exe thumbprint --cert FILE\n" +
            "peer.exe listen --cert FILE --trust THUMBPRINT [--port PORT] [--home FOLDER]\n" +
            "peer.exe poll   --cert FILE --trust THUMBPRINT --server HOST:PORT --subscription poll://ID/ [--connections N] [--home FOLDER]\n" +
            "--old yes offers what a Tentacle before 6.3 does: no capabilities, IScriptService only.\n" +
            "FILE is a PKCS#12 file; it is made when it is missing. The trusted thumbprint is the server's.";

        const string Password = "peer"; // PKCS#12 wants one; the file is a test's

        readonly Dictionary<string, string> options = new Dictionary<string, string>();
        X509Certificate2 certificate;
        Dispatcher dispatcher;
        string temp;

        static int Main(string[] args)
        {
            try
            {
                return new Program().Run(args);
            }
            catch (ArgumentException e)
            {
                Console.Error.WriteLine(e.Message + "\n" + Usage);
                return 2;
            }
        }

        int Run(string[] args)
        {
            if (args.Length == 0) throw new ArgumentException("no command");
            for (var i = 1; i < args.Length; i += 2)
            {
                if (!args[i].StartsWith("--") || i + 1 == args.Length) throw new ArgumentException("not an option with a value: " + args[i]);
                options[args[i].Substring(2)] = args[i + 1];
            }
            certificate = LoadCertificate(Required("cert"));
            Console.WriteLine("thumbprint " + certificate.Thumbprint);
            if (args[0] == "thumbprint") return 0;
            var home = Path.GetFullPath(Option("home", "peer-home"));
            temp = Path.Combine(home, "Temp");
            Directory.CreateDirectory(temp);
            dispatcher = new Dispatcher(home, Option("old", "no") == "yes");
            Required("trust");
            switch (args[0])
            {
                case "listen":
                    Listen();
                    return 0;
                case "poll":
                    for (var i = 1; i < int.Parse(Option("connections", "1")); i++) new Thread(Poll) { IsBackground = true }.Start();
                    Poll();
                    return 0;
            }
            throw new ArgumentException("unknown command " + args[0]);
        }

        string Required(string name)
        {
            if (!options.ContainsKey(name)) throw new ArgumentException("--" + name + " is missing");
            return options[name];
        }

        string Option(string name, string otherwise) { return options.ContainsKey(name) ? options[name] : otherwise; }

        static X509Certificate2 LoadCertificate(string path)
        {
            if (!File.Exists(path))
            {
                var key = new RSACryptoServiceProvider(2048);
                var serial = Guid.NewGuid().ToByteArray();
                serial[0] = (byte)(serial[0] & 0x7f | 1);
                var builder = new Mono.Security.X509.X509CertificateBuilder(3)
                {
                    SerialNumber = serial, IssuerName = "CN=Octopus Tentacle", SubjectName = "CN=Octopus Tentacle",
                    NotBefore = DateTime.UtcNow.AddDays(-1), NotAfter = DateTime.UtcNow.AddYears(100), SubjectPublicKey = key, Hash = "SHA256"
                };
                var file = new Mono.Security.X509.PKCS12 { Password = Password };
                file.AddCertificate(new Mono.Security.X509.X509Certificate(builder.Sign(key)));
                file.AddPkcs8ShroudedKeyBag(key);
                file.SaveToFile(path);
            }
            return new X509Certificate2(path, Password);
        }

        bool Trusted(X509Certificate peer)
        {
            return peer != null && string.Equals(peer.GetCertHashString(), Required("trust"), StringComparison.OrdinalIgnoreCase);
        }

        static void SetTimeouts(Stream stream)
        {
            stream.ReadTimeout = 60000;
            stream.WriteTimeout = 60000;
        }

        void Listen()
        {
            var listener = new TcpListener(IPAddress.Loopback, int.Parse(Option("port", "10933")));
            listener.Start();
            Console.WriteLine("listening on " + ((IPEndPoint)listener.LocalEndpoint).Port);
            for (;;)
            {
                var client = listener.AcceptTcpClient();
                new Thread(() => Guarded(client, Serve)) { IsBackground = true }.Start();
            }
        }

        void Guarded(TcpClient client, Action<TcpClient> serve)
        {
            try
            {
                using (client) serve(client);
            }
            catch (EndOfStreamException)
            {
                Console.WriteLine("closed");
            }
            catch (Exception e)
            {
                Console.WriteLine("connection ended: " + e.GetType().Name + ": " + e.Message);
            }
        }

        void Serve(TcpClient client)
        {
            var tls = new SslStream(client.GetStream(), false, (a, b, c, d) => true);
            tls.AuthenticateAsServer(certificate, true, SslProtocols.Tls12, false);
            SetTimeouts(tls);
            var wire = new Wire(tls, temp);
            if (!wire.ReadPreamble())
            {
                wire.WritePage();
                return;
            }
            if (!Trusted(tls.RemoteCertificate))
            {
                Console.WriteLine("untrusted client");
                return;
            }
            if (wire.ReadIdentity()[0] != "MX-CLIENT") throw new InvalidDataException("not a client");
            wire.WriteIdentity("MX-SERVER 1.0");
            for (;;)
            {
                AnswerOne(wire);
                var word = wire.ReadWord();
                if (word == "END") return;
                if (word != "NEXT") throw new InvalidDataException("not NEXT: " + word);
                wire.WriteLine("PROCEED");
            }
        }

        // Answers one request; the null message needs no answer.
        void AnswerOne(Wire wire)
        {
            var request = wire.ReadMessage<RequestMessage>();
            if (request == null)
            {
                Console.WriteLine("null message");
                return;
            }
            Console.WriteLine("call " + request.ServiceName + "." + request.MethodName);
            wire.WriteMessage(dispatcher.Answer(request));
        }

        void Poll()
        {
            var server = Required("server");
            var colon = server.LastIndexOf(':');
            for (;;)
            {
                Guarded(new TcpClient(), client =>
                {
                    client.Connect(server.Substring(0, colon), int.Parse(server.Substring(colon + 1)));
                    PollOnce(client, server.Substring(0, colon));
                });
                Thread.Sleep(TimeSpan.FromSeconds(5));
            }
        }

        void PollOnce(TcpClient client, string host)
        {
            var tls = new SslStream(client.GetStream(), false, (a, peer, c, d) => Trusted(peer), (a, b, c, d, e) => certificate);
            tls.AuthenticateAsClient(host, new X509CertificateCollection { certificate }, SslProtocols.Tls12, false);
            SetTimeouts(tls);
            var wire = new Wire(tls, temp);
            wire.WritePreamble();
            wire.WriteIdentity("MX-SUBSCRIBER 1.0 " + Required("subscription"));
            if (wire.ReadIdentity()[0] != "MX-SERVER") throw new InvalidDataException("not a server");
            Console.WriteLine("connected");
            for (;;)
            {
                AnswerOne(wire);
                wire.WriteLine("NEXT");
                var word = wire.ReadWord();
                if (word != "PROCEED") throw new InvalidDataException("not PROCEED: " + word);
            }
        }
    }
}
