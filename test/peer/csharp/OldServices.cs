// What a Tentacle before 6.3 offers: no capabilities, and a script service that makes the tickets itself
// (tentacle-protocol.md 2.4). It runs scripts as the newer one does.
using System;
using System.Threading;
using Octopus.Shared.Contracts;
using V2 = Octopus.Tentacle.Contracts.ScriptServiceV2;

namespace OctavoPeer
{
    class OldScriptService
    {
        readonly ScriptService scripts;
        int count;
        public OldScriptService(string home) { scripts = new ScriptService(home); }

        public ScriptTicket StartScript(StartScriptCommand command)
        {
            var task = (command.TaskId ?? "none").Replace("ServerTasks-", "");
            var ticket = DateTime.UtcNow.ToString("yyyyMMddHHmmss") + "-" + task + "-" + Interlocked.Increment(ref count);
            var newer = new V2.StartScriptCommandV2(new Octopus.Tentacle.Contracts.ScriptTicket(ticket), command.ScriptBody, command.TaskId, null,
                command.Isolation, command.ScriptIsolationMutexTimeout, command.IsolationMutexName, command.Arguments);
            foreach (var script in command.Scripts) newer.Scripts.Add(script.Key, script.Value);
            newer.Files.AddRange(command.Files);
            scripts.StartScript(newer);
            return new ScriptTicket(ticket);
        }

        static Octopus.Tentacle.Contracts.ScriptTicket Newer(ScriptTicket ticket) { return new Octopus.Tentacle.Contracts.ScriptTicket(ticket.TaskId); }

        static ScriptStatusResponse Older(V2.ScriptStatusResponseV2 status)
        {
            return new ScriptStatusResponse
            {
                Ticket = new ScriptTicket(status.Ticket.TaskId), Logs = status.Logs, NextLogSequence = status.NextLogSequence,
                State = status.State, ExitCode = status.ExitCode
            };
        }

        public ScriptStatusResponse GetStatus(ScriptStatusRequest request)
        {
            return Older(scripts.GetStatus(new V2.ScriptStatusRequestV2(Newer(request.Ticket), request.LastLogSequence)));
        }

        public ScriptStatusResponse CancelScript(CancelScriptCommand command)
        {
            return Older(scripts.CancelScript(new V2.CancelScriptCommandV2(Newer(command.Ticket), command.LastLogSequence)));
        }

        // The last lines and the definitive exit code come with this answer.
        public ScriptStatusResponse CompleteScript(CompleteScriptCommand command)
        {
            var status = scripts.GetStatus(new V2.ScriptStatusRequestV2(Newer(command.Ticket), command.LastLogSequence));
            scripts.CompleteScript(new V2.CompleteScriptCommandV2(Newer(command.Ticket)));
            return Older(status);
        }
    }
}
