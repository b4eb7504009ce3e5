// The whole job of a deployment, done by the TypeScript client alone, unmodified. ./run starts the server.
"use strict";

const assert = require("node:assert/strict");
const { execFileSync } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");
const test = require("node:test");
const {
    ActivityLogEntryCategory, Client, DeploymentProcessRepository, DeploymentRepository, EnvironmentRepository, LifecycleRepository, NewProject, OverwriteMode,
    PackageRepository, ProjectGroupRepository, ProjectRepository, ReleaseRepository, RetentionUnit, ServerTaskWaiter, SpaceRepository, SpaceServerTaskRepository,
    ZipPackageBuilder, spaceScopedRoutePrefix, userGetCurrent,
} = require("@octopusdeploy/api-client");

const url = process.env.CLIENTS_URL;
assert.ok(url, "start the suites with ./run");

const spaceName = "TypeScript client";
const tag = "greeter-host";
const token = "tok-77ab13-not-for-logs";
const quiet = { debug() {}, info() {}, warn: console.warn, error() {} };

const connect = (apiKey) => Client.create({ userAgentApp: "clients-test", instanceURL: url, apiKey, logging: quiet });

const packageFiles = {
    greeter: '#!/bin/bash\ncd "$(dirname "$0")" && . ./greeter.conf && echo "$greeting from $place, release $release"\n',
    "greeter.conf": "greeting='#{Greeting}'\nplace='#{Octopus.Environment.Name}'\nrelease='#{Octopus.Release.Number}'\ntoken='#{Token}'\n",
    "Deploy.sh": '#!/bin/bash\nchmod +x greeter\necho "installed into $PWD"\n',
};

function step(name, actionType, properties, packages = []) {
    return {
        Id: "", Name: name, Condition: "Success", PackageRequirement: "LetOctopusDecide", StartTrigger: "StartAfterPrevious",
        Properties: { "Octopus.Action.TargetRoles": tag },
        Actions: [{
            Id: "", Name: name, ActionType: actionType, Notes: null, IsDisabled: false, CanBeUsedForProjectVersioning: false, IsRequired: false, WorkerPoolId: null,
            Container: { Image: null, FeedId: null }, WorkerPoolVariable: "", Environments: [], ExcludedEnvironments: [], Channels: [], TenantTags: [],
            Packages: packages, Condition: "Success", Properties: properties,
        }],
    };
}

const scriptStep = (name, body) => step(name, "Octopus.Script", {
    "Octopus.Action.RunOnServer": "false", "Octopus.Action.Script.ScriptSource": "Inline", "Octopus.Action.Script.Syntax": "Bash", "Octopus.Action.Script.ScriptBody": body,
});

const packageStep = (name, id) => step(name, "Octopus.TentaclePackage", {
    "Octopus.Action.Package.PackageId": id, "Octopus.Action.Package.FeedId": "feeds-builtin", "Octopus.Action.Package.DownloadOnTentacle": "False",
    "Octopus.Action.EnabledFeatures": "Octopus.Features.SubstituteInFiles", "Octopus.Action.SubstituteInFiles.TargetFiles": "greeter.conf",
}, [{ Id: "", Name: "", PackageId: id, FeedId: "feeds-builtin", AcquisitionLocation: "Server", Properties: {} }]);

// installed finds a deployed file below an agent's folder of applications.
function installed(apps, environment, version, name) {
    const found = fs.readdirSync(apps, { recursive: true }).filter((file) => {
        const parts = file.split(path.sep);
        return parts.at(-1) === name && parts.includes(environment) && parts.includes(version);
    });
    assert.equal(found.length, 1, `${name} of ${version} in ${environment}, below ${apps}: ${found}`);
    return path.join(apps, found[0]);
}

function linesOf(details) {
    const lines = [];
    const walk = (elements) => elements.forEach((element) => {
        element.LogElements.forEach((line) => lines.push(line));
        walk(element.Children);
    });
    walk(details.ActivityLogs);
    return lines;
}

test("the TypeScript client deploys", { timeout: 80_000 }, async (t) => {
    const client = await connect(process.env.CLIENTS_KEY);
    let lastRefusal;
    client.setOnErrorResponseCallback((details) => { lastRefusal = details; });
    const me = await userGetCurrent(client);
    const space = await new SpaceRepository(client).create({ Name: spaceName, SpaceManagersTeams: [], SpaceManagersTeamMembers: [me.Id], IsDefault: false });

    const environments = new EnvironmentRepository(client, spaceName);
    const development = await environments.create({ Name: "Development" });
    const production = await environments.create({ Name: "Production" });
    const keep = { QuantityToKeep: 30, ShouldKeepForever: false, Unit: RetentionUnit.Days };
    const phase = (name, environment) => ({ Name: name, OptionalDeploymentTargets: [environment.Id], AutomaticDeploymentTargets: [], MinimumEnvironmentsBeforePromotion: 0, IsOptionalPhase: false });
    const lifecycle = await new LifecycleRepository(client, spaceName).create({
        Name: "Development, then Production", Phases: [phase("First", development), phase("Second", production)], ReleaseRetentionPolicy: keep, TentacleRetentionPolicy: keep,
    });
    const group = await new ProjectGroupRepository(client, spaceName).create({ Name: "Greeters" });
    const projects = new ProjectRepository(client, spaceName);
    const project = await projects.create(NewProject("Greeter", group, lifecycle));
    const broken = await projects.create(NewProject("Broken", group, lifecycle));
    assert.equal((await projects.list({ partialName: "Greet" })).Items.length, 1);

    // The client has no class for variables; its users call the route.
    const variables = `${spaceScopedRoutePrefix}/variables/${project.VariableSetId}`;
    const set = await client.request(variables, { spaceName });
    set.Variables.push(
        { Name: "Greeting", Value: "#{Word}" }, { Name: "Word", Value: "Hello" },
        { Name: "Mood", Value: "curious", Scope: { Environment: [development.Id] } }, { Name: "Mood", Value: "calm", Scope: { Environment: [production.Id] } },
        { Name: "Token", Value: token, Type: "Sensitive", IsSensitive: true },
    );
    const saved = await client.doUpdate(variables, { ...set, spaceName });
    assert.equal(saved.Variables.length, 5);
    assert.equal(saved.Variables.find((v) => v.Name === "Token").Value, null);

    const processes = new DeploymentProcessRepository(client, spaceName);
    const setSteps = async (of, ...steps) => {
        const process = await processes.get(of);
        process.Steps = steps;
        return processes.update(of, process);
    };
    const process_ = await setSteps(project, packageStep("Install", "Greeter.Ts"), scriptStep("Run", [
        'dir=$(get_octopusvariable "Octopus.Action[Install].Output.Package.InstallationDirectoryPath")',
        'said=$("$dir/greeter") || exit 3',
        'write_highlight "greeter says: $said"',
        'echo "token is $(get_octopusvariable Token), mood is $(get_octopusvariable Mood)"',
    ].join("\n")));
    assert.equal(process_.Steps.length, 2);
    assert.ok(process_.Steps.every((s) => s.Id && s.Actions[0].Id && Array.isArray(s.Actions[0].Channels)));
    await setSteps(broken, scriptStep("Break", "echo about to break\necho 'cannot open the vault' >&2\nexit 17\n"));

    const folder = fs.mkdtempSync(path.join(process.env.CLIENTS_DIR, "package-"));
    for (const [name, text] of Object.entries(packageFiles)) fs.writeFileSync(path.join(folder, name), text);
    const archive = await new ZipPackageBuilder().pack({
        packageId: "Greeter.Ts", version: "1.0.0", basePath: folder, inputFilePatterns: Object.keys(packageFiles), outputFolder: folder, overwrite: true, logger: quiet,
    });
    const packages = new PackageRepository(client, spaceName);
    await packages.push([path.join(folder, archive)], OverwriteMode.FailIfExists);
    const pushed = (await packages.list({ nuGetPackageId: "Greeter.Ts" })).Items;
    assert.deepEqual(pushed.map((p) => p.Version), ["1.0.0"]);
    assert.equal((await packages.get(pushed[0].Id)).PackageId, "Greeter.Ts");

    const apps = execFileSync("./agents", [space.Id, tag, "Development", "Production"], { cwd: __dirname, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] }).trim().split("\n");

    await t.test("an existing package is refused", async () => {
        fs.appendFileSync(path.join(folder, archive), "\0");
        await assert.rejects(packages.push([path.join(folder, archive)], OverwriteMode.FailIfExists), (error) => {
            assert.match(error.message, /A package with the same name and version already exists/);
            return true;
        });
        assert.equal(lastRefusal.statusCode, 409); // push gives only the text
    });
    await t.test("a wrong key is refused with 401", async () => {
        const stranger = await connect("API-WRONGWRONGWRONGWRONGWRONG");
        await assert.rejects(userGetCurrent(stranger), (error) => error.StatusCode === 401);
    });
    await t.test("a stale process is refused with 400", async () => {
        await setSteps(project, ...process_.Steps);
        await assert.rejects(processes.update(project, { ...process_, Steps: [] }), (error) => {
            assert.match(JSON.stringify([error.message, error.ErrorMessage, error.Errors]), /another user/);
            return error.StatusCode === 400;
        });
    });

    const releases = new ReleaseRepository(client, spaceName);
    const deployments = new DeploymentRepository(client, spaceName);
    const release = await releases.create({ spaceName, ProjectName: "Greeter", ReleaseVersion: "1.0.0", PackageVersion: "1.0.0" });
    assert.equal((await releases.get(release.ReleaseId)).Version, "1.0.0");

    const deploy = async (of, version, environment) => {
        const made = await deployments.create({ spaceName, ProjectName: of.Name, ReleaseVersion: version, EnvironmentNames: [environment] });
        assert.equal(made.DeploymentServerTasks.length, 1);
        const listed = await deployments.list({ ids: made.DeploymentServerTasks.map((d) => d.DeploymentId) });
        assert.equal(listed.Items[0].TaskId, made.DeploymentServerTasks[0].ServerTaskId);
        const task = await new ServerTaskWaiter(client, spaceName).waitForServerTaskToComplete(listed.Items[0].TaskId, 100, 60_000);
        const details = await new SpaceServerTaskRepository(client, spaceName).getDetails(task.Id);
        return { task, lines: linesOf(details), raw: await new SpaceServerTaskRepository(client, spaceName).getRaw(task.Id) };
    };

    await t.test("a release cannot skip a phase", async () => {
        await assert.rejects(deploy(project, "1.0.0", "Production"), (error) => {
            assert.match(JSON.stringify([error.message, error.ErrorMessage, error.Errors]), /First/);
            return error.StatusCode === 400;
        });
    });

    for (const [environment, mood] of [["Development", "curious"], ["Production", "calm"]]) {
        const { task, lines, raw } = await deploy(project, "1.0.0", environment);
        assert.equal(task.State, "Success", `${task.ErrorMessage}\n${raw}`);
        assert.equal(task.FinishedSuccessfully, true);
        const want = `Hello from ${environment}, release 1.0.0`;
        for (const app of apps) {
            const program = installed(app, environment, "1.0.0", "greeter");
            assert.equal(execFileSync(program, { encoding: "utf8" }).trim(), want);
            assert.match(fs.readFileSync(`${program}.conf`, "utf8"), new RegExp(`token='${token}'`));
        }
        assert.equal(lines.filter((l) => l.Category === ActivityLogEntryCategory.Highlight && l.MessageText === `greeter says: ${want}`).length, 2, raw);
        assert.equal(lines.filter((l) => l.MessageText === `token is ********, mood is ${mood}`).length, 2, raw);
        assert.ok(raw.includes(`greeter says: ${want}`) && !raw.includes(token));
    }

    await t.test("a failing script fails the task and says why", async () => {
        await releases.create({ spaceName, ProjectName: "Broken", ReleaseVersion: "1.0.0" });
        const { task, lines, raw } = await deploy(broken, "1.0.0", "Development");
        assert.equal(task.State, "Failed");
        assert.equal(task.FinishedSuccessfully, false);
        assert.ok(task.ErrorMessage);
        assert.ok(lines.some((l) => l.Category === ActivityLogEntryCategory.Error && l.MessageText === "cannot open the vault"), raw);
        assert.match(raw, /17/);
    });

    const spaces = new SpaceRepository(client);
    await spaces.del(await spaces.modify({ ...space, TaskQueueStopped: true }));
    await assert.rejects(spaces.get(space.Id), (error) => error.StatusCode === 404);
});
