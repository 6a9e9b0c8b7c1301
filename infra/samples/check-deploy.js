// A plugin of the Serverless Framework: before CloudFormation is asked to update the stack, the template that is deployed and the one
// that is to be go through `journal check-deploy`. A refusal ends the deploy. `journal` must be on the path.
'use strict';
const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

class CheckDeploy {
  constructor(serverless) {
    this.serverless = serverless;
    this.hooks = { 'before:deploy:deploy': () => this.check() };
  }

  async check() {
    const { service } = this.serverless;
    const provider = this.serverless.getProvider('aws');
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'check-deploy-'));
    try {
      const next = path.join(folder, 'next.json');
      fs.writeFileSync(next, JSON.stringify(service.provider.compiledCloudFormationTemplate));
      const args = ['check-deploy', next];
      const deployed = await this.deployed(provider);
      if (deployed) {
        const file = path.join(folder, 'deployed.json');
        fs.writeFileSync(file, JSON.stringify(deployed));
        args.push('--deployed', file);
      }
      execFileSync('journal', args, { stdio: 'inherit' });
    } catch (error) {
      // What cannot be checked is not deployed.
      throw new this.serverless.classes.Error(`journal check-deploy: ${error.message}`);
    } finally {
      fs.rmSync(folder, { recursive: true, force: true });
    }
  }

  // The stack's template, or nothing for a stack that is not there yet. Any other failure ends the deploy.
  async deployed(provider) {
    try {
      const stack = { StackName: provider.naming.getStackName(), TemplateStage: 'Processed' };
      return await provider.request('CloudFormation', 'getTemplate', stack);
    } catch (error) {
      if (/does not exist/.test(error.message)) return undefined;
      throw error;
    }
  }
}

module.exports = CheckDeploy;
